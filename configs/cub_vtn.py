"""Fine-grained recognition of photographs with a volumetric transformer: VTN section 4.2, every row of Table 1.

    python train.py --config configs/cub_vtn.py --config.data_dir=CUB_200_2011 \
        --config.pretrained=timm/resnet50.tv_in1k

`data_dir` is the folder as the archive unpacks; `pretrained` a file or a name on the Hugging Face hub, see
`models.load_pretrained` ("" is random weights). Variants, joined by commas, the first value of each
being the default:

- `backbone=resnet50|vgg19|resnet101|resnet18|vgg16|vgg19_bn|squeezenet`;
- `dataset=cub|cars|aircraft|inat2017`;
- `warp=vtn|none|stn|ssn|asn|deformable`: of the last features, by a VTN, by nothing, by one affine warp, by the
  saliency or the attention sampler, or by making the last convolution deformable;
- `ablation=none|mixing|grouping|probability|consistency`: VTN without one of its parts;
- `smoke`: the same on a few drawn pictures, random weights and small images, in less than two minutes on two CPU cores.

The paper gives neither optimiser, learning rate, batch nor epochs. Here it is what comparable code fine-tunes with:
momentum 0.9, rate 0.008, divided by 10 every 60 of 180 epochs, batch 32 as 8 classes x 4 images. Nothing was measured
with it: CUB could not be had where this was written. The batch is that of all devices together.
"""

from ml_collections import ConfigDict

from vtnjax.train.config import Config, choose

TRAINING_IMAGES = {"cub": 5994, "cars": 8144, "aircraft": 6667, "inat2017": 579_184}
EPOCHS = {"cub": 180, "cars": 180, "aircraft": 180, "inat2017": 30}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        backbone=("resnet50", "vgg19", "resnet101", "resnet18", "vgg16", "vgg19_bn", "squeezenet"),
        dataset=("cub", "cars", "aircraft", "inat2017"),
        warp=("vtn", "none", "stn", "ssn", "asn", "deformable"),
        ablation=("none", "mixing", "grouping", "probability", "consistency"),
        smoke=False,
    )
    if chosen["ablation"] != "none" and chosen["warp"] != "vtn":
        raise ValueError(f"the variant ablation={chosen['ablation']} belongs to warp=vtn, not to warp={chosen['warp']}")
    is_vgg = chosen["backbone"].startswith("vgg")
    config = ConfigDict()
    config.backbone = chosen["backbone"]
    config.pretrained = ""
    config.frozen_statistics = False
    config.warp = chosen["warp"]
    config.warp_options = ConfigDict(warp_options(chosen, is_vgg))

    config.dataset = chosen["dataset"]
    config.test_split = "test"
    config.data_dir = ""
    config.source_options = ConfigDict({"on_error": "raise"})  # or "skip": leave out pictures that cannot be read
    config.photo = ConfigDict({"size": 512, "crop": 448, "rotation": 15.0, "flip": True})
    config.data_threads = 8

    config.batch_size = 32
    config.images_per_class = 4
    config.triplet_batch = 0  # triplets from the batch itself
    config.consistency = ConfigDict(consistency(chosen, is_vgg))
    steps_per_epoch = TRAINING_IMAGES[config.dataset] // config.batch_size
    config.steps = EPOCHS[config.dataset] * steps_per_epoch
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "momentum"
    config.momentum = 0.9
    config.learning_rate = 8e-3
    config.schedule = "step"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3)
    config.decay_factor = 0.1
    config.weight_decay = 1e-4
    config.clip_norm = 0.0
    config.localiser_multiplier = 1.0

    config.log_every = 50
    config.eval_every = 5 * steps_per_epoch
    config.checkpoint_every = 5 * steps_per_epoch
    config.tensorboard = False

    if chosen["smoke"]:
        make_small(config)
    return config


def warp_options(chosen: dict, is_vgg: bool) -> dict:
    """C = 32 groups, 11 x 11 candidates and beta = 10 (section 3.5), or without one of VTN's parts (Table 1)."""
    if chosen["warp"] == "deformable":
        return {"groups": 4}
    if chosen["warp"] != "vtn":
        return {}
    options = {"groups": 32, "window": (11, 11), "temperature": 10.0}
    if chosen["ablation"] == "mixing":
        options["mix_channels"] = False
    if chosen["ablation"] == "probability":
        options["probabilistic"] = False
    if chosen["ablation"] == "grouping":
        options["groups"] = 512 if is_vgg or chosen["backbone"] in ("resnet18", "squeezenet") else 2048
    return options


def consistency(chosen: dict, is_vgg: bool) -> dict:
    """Weight lambda = 1 and margin alpha = 20 or 30 (section 3.5); nothing but a VTN has the loss."""
    weight = 1.0 if chosen["warp"] == "vtn" and chosen["ablation"] != "consistency" else 0.0
    return {"weight": weight, "margin": 20.0 if is_vgg else 30.0, "positions": "sum", "normalise": False}


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset = f"drawn:{config.dataset}"
    config.photo.size, config.photo.crop = 72, 64
    config.data_threads = 1
    config.batch_size, config.images_per_class = 8, 2
    config.steps, config.log_every, config.eval_every, config.checkpoint_every = 4, 1, 2, 2
    config.learning_rate = 1e-4
    if config.warp == "vtn":
        config.warp_options.window = (3, 3)
        # An untrained trunk's features are of another size than those that the paper's margins are for.
        config.consistency.normalise, config.consistency.positions, config.consistency.margin = True, "mean", 0.5
