"""Fine-grained recognition of photographs with a volumetric transformer: VTN section 4.2, Tables 1 to 5.

    python train.py --config configs/cub_vtn.py --config.data_dir=CUB_200_2011 \
        --config.pretrained=timm/resnet50.tv_in1k

`data_dir` is the folder as the archive unpacks; `pretrained` a file or a name on the Hugging Face hub, see
`models.load_pretrained` ("" is random weights). Variants, joined by commas, the first value of each
being the default:

- `backbone=resnet50|vgg19|resnet101|resnet18|vgg16|vgg19_bn|squeezenet`;
- `dataset=cub|cars|aircraft|inat2017`, the last also tested by super-class;
- `warp=vtn|none|stn|ssn|asn|deformable`: of the last features, by a VTN, by nothing, by one affine warp, by the
  saliency or the attention sampler, or by making the last convolution deformable;
- `head=pooled|bp|cbp|kp|mpncov|isqrt`: how the warped features are pooled, the rows of Table 2 (bilinear, compact
  bilinear, kernel pooling, MPN-COV, iSQRT-COV);
- `ablation=none|mixing|grouping|probability|consistency`: VTN without one of its parts;
- `localise`: tested once, at the end, also by where the network sees the object (Table 5), on whole photographs;
- `smoke`: the same on a few drawn pictures, random weights and small images, in less than two minutes on two CPU cores.

The paper gives neither optimiser, learning rate, batch nor epochs. Here it is what comparable code fine-tunes with:
momentum 0.9, rate 0.008, divided by 10 every 60 of 180 epochs, batch 32 as 8 classes x 4 images. Nothing was measured
with it: CUB could not be had where this was written. The batch is that of all devices together.

Heads of second-order pooling follow a VTN, whose consistency loss is on what it warps, before any reduction of the
channels. iSQRT-COV and MPN-COV are trained as their authors' code does, at a constant rate of 0.0012 for a batch of 10
and of 0.00316 for one of 120, in 100 epochs, on a ResNet whose last stage has stride 1; but their ImageNet weights with
the pooling could not be had. The others learn alone for the first third of the schedule. With a ResNet-50 or -101
bilinear pooling first reduces the channels to 512. Tests average each image and its mirror image, but with `localise`
they do not. iNaturalist has 30 epochs with every head. The VTN's window stays 11 x 11 where the last stage has stride
1, so there it spans half as much of the image.
"""

from ml_collections import ConfigDict, FieldReference

from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose

EPOCHS = {"cub": 180, "cars": 180, "aircraft": 180, "inat2017": 30}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        backbone=("resnet50", "vgg19", "resnet101", "resnet18", "vgg16", "vgg19_bn", "squeezenet"),
        dataset=("cub", "cars", "aircraft", "inat2017"),
        warp=("vtn", "none", "stn", "ssn", "asn", "deformable"),
        head=("pooled", "bp", "cbp", "kp", "mpncov", "isqrt"),
        ablation=("none", "mixing", "grouping", "probability", "consistency"),
        localise=False,
        smoke=False,
    )
    warp, dataset, batch_size = chosen["warp"], chosen["dataset"], FieldReference(32)
    if chosen["ablation"] != "none" and warp != "vtn":
        raise ValueError(f"the variant ablation={chosen['ablation']} belongs to warp=vtn, not to warp={warp}")
    config = presets.run(
        network={
            "name": "warped_features",
            "trunk": presets.trunk(chosen["backbone"], chosen["head"]),
            "warp": {"name": warp, **warp_options(chosen)},
            "head": presets.head(chosen["head"], chosen["backbone"]),
        },
        batches={"name": "balanced", "images_per_class": 4},
        objective=objective(chosen),
        picture={"name": "gallery" if warp in ("none", "deformable") else "fields"},
        pretrained="",
        batch_size=batch_size,
        **presets.photographs(dataset, size=512, crop=448, rotation=15.0, flip=True),
        **schedule(chosen, batch_size),
    )
    if dataset == "inat2017":
        config.evaluation.name = "super_classes"
    if chosen["localise"]:
        config.evaluation, config.input.whole = {"name": "localisation"}, True
    if chosen["smoke"]:
        make_small(config)
    return config


def schedule(chosen: dict, batch_size: FieldReference) -> dict:
    """The rate and the length of the run, which the heads' authors choose as the docstring says."""
    dataset, per_image = chosen["dataset"], {"isqrt": 1.2e-3 / 10, "mpncov": 10**-2.5 / 120}.get(chosen["head"])
    values, epochs = presets.sgd(8e-3, momentum=0.9) | {"weight_decay": 1e-4}, EPOCHS[dataset]
    if per_image is not None:
        values |= {"learning_rate": batch_size.to_float() * per_image, "schedule": "constant"}
        epochs = min(epochs, 100)
    length = presets.epochs(epochs, presets.TRAINING_IMAGES[dataset], batch_size, log=50, test=5)
    if chosen["localise"]:
        length["eval_every"] = length["steps"]  # tests take minutes
    return {**values, **length, **presets.second_order(chosen["head"], alone=length["steps"] // 3)}


def warp_options(chosen: dict) -> dict:
    """C = 32 groups, 11 x 11 candidates and beta = 10 (section 3.5), or without one of VTN's parts (Table 1)."""
    if chosen["warp"] == "deformable":
        return {"groups": 4}
    if chosen["warp"] != "vtn":
        return {}
    options = dict(presets.VTN)
    if chosen["ablation"] == "mixing":
        options["mix_channels"] = False
    if chosen["ablation"] == "probability":
        options["probabilistic"] = False
    if chosen["ablation"] == "grouping":
        has_512 = chosen["backbone"].startswith("vgg") or chosen["backbone"] in ("resnet18", "squeezenet")
        options["groups"] = 512 if has_512 else 2048
    return options


def objective(chosen: dict) -> dict:
    """Nothing but a VTN has the consistency loss."""
    if chosen["warp"] != "vtn" or chosen["ablation"] == "consistency":
        return {"name": "cross_entropy"}
    return {"name": "consistency", **presets.consistency(chosen["backbone"])}


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset, config.data_threads = f"drawn:{config.dataset}", 1
    config.input.size, config.input.crop = 72, 64
    config.batches.images_per_class = 2
    config.learning_rate = 1e-4
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
    config.head_alone_steps = min(config.head_alone_steps, 2)
    if config.network.warp.name == "vtn":
        config.network.warp.window = (3, 3)
    if config.objective.name == "consistency":
        config.objective.update(presets.OF_UNIT_LENGTH)
