"""Fine-grained recognition with the trilinear attention sampling network: TASN's Tables 2 to 10, VTN's Table 3.

    python train.py --config configs/cub_tasn.py --config.data_dir=CUB_200_2011 \
        --config.pretrained=timm/resnet50.tv_in1k --config.attention_pretrained=timm/resnet18.tv_in1k

`data_dir` is the folder as the archive unpacks; the weights are files or names on the Hugging Face hub, see
`models.load_pretrained` ("" is random). Variants, joined by commas, the first value of each being the default:

- `backbone=resnet50|resnet101|vgg19|resnet18|squeezenet` of both nets;
- `dataset=cub|cars|aircraft|inat2017`, the last also tested by super-class;
- `resolution=224|280|336|392|448` of the sampled images;
- `sampler=inverse_cdf|ssn|uniform|none` (Table 3; with "none" it is the plain backbone at that resolution);
- `branch=tasn|master`: with the part-net and distillation, or the master-net alone (Table 4);
- `parts=1|2` maps a step;
- `attention=both|features|plain|spatial|spatial_both|output|relation|self`, the rows of Table 2: "both" N(N(X)X')X,
  "features" X, "plain" XX'X, "spatial" N(X)X'X, "spatial_both" N(X)N(X)'X, "output" N(XX'X), "relation" N(XX')X, and
  "self", self-attention;
- `predict=master|part`: which net's accuracy is reported; Table 2 has the part-net's;
- `warp=none|vtn` of the last features of both nets, with VTN's consistency loss on the master-net's;
- `head=pooled|bp|cbp|kp|mpncov|isqrt`: how both nets pool them; "warp=vtn,head=isqrt" is the last row of VTN's Table 3;
- `selection=random|ranked` of the maps;
- `smoke`: the same on a few drawn pictures, random weights and small images, under two minutes on two CPU cores.

The recipe is the reference implementation's: SGD without momentum or weight decay, rate 0.1 for a batch of 96 (in
proportion to the batch), divided by 10 after 100 and 200 of 300 epochs; crops of 512 x 512, mirrored, turned, with
colour and PCA noise. Nothing was measured with it: CUB could not be had where this was written. The
batch is that of all devices together, and BatchNorm sees both kinds of images of all of it; the reference has 12 of
each a device.

VTN's paper does not say how it was trained with TASN and iSQRT-COV. Here the recipe stays; a batch is 24 classes x 4
images where triplets are drawn from it, the last stage of a ResNet has stride 1 for the roots of covariances, whose
head learns at 5 times the rate; the other heads of second order learn at 10 times the rate, and alone for the first
third. With all of them tests average each image and its mirror image.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from vtnjax.nn.trilinear_attention import TABLE_2
from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        backbone=("resnet50", "resnet101", "vgg19", "resnet18", "squeezenet"),
        dataset=("cub", "cars", "aircraft", "inat2017"),
        sampler=("inverse_cdf", "ssn", "uniform", "none"),
        resolution=("224", "280", "336", "392", "448"),
        attention=tuple(TABLE_2),
        branch=("tasn", "master"),
        parts=("1", "2"),
        selection=("random", "ranked"),
        predict=("master", "part"),
        warp=("none", "vtn"),
        head=("pooled", "bp", "cbp", "kp", "mpncov", "isqrt"),
        smoke=False,
    )
    dataset, batch_size = chosen["dataset"], FieldReference(96)
    schedule = presets.sgd(0.1) | {"learning_rate": batch_size.to_float() / 96 * 0.1}
    length = presets.epochs(300, presets.TRAINING_IMAGES[dataset], batch_size, log=50, test=5)
    config = presets.run(
        network=network(chosen),
        **learning(chosen),
        picture={"name": "before_after"},
        pretrained="",
        attention_pretrained="",
        batch_size=batch_size,
        **presets.photographs(
            dataset, size=512, crop=512, keep_aspect=True, rotation=30.0, flip=True, colour=0.4, pca_noise=0.1
        ),
        **schedule,
        **length,
        **presets.second_order(chosen["head"], alone=length["steps"] // 3),
    )
    if dataset == "inat2017":
        config.evaluation.name = "super_classes"
    if chosen["smoke"]:
        make_small(config)
    return config


def network(chosen: dict) -> dict:
    """What the network is made of, as `models.TASN` has it."""
    alone = chosen["branch"] == "master" or chosen["sampler"] == "none"
    options: dict[str, Any] = {}
    if chosen["warp"] == "vtn":
        options["warp"] = presets.VTN
    if chosen["head"] != "pooled":
        options["head"] = presets.head(chosen["head"], chosen["backbone"])
    return presets.tasn(
        chosen["sampler"],
        trunk=presets.trunk(chosen["backbone"], chosen["head"]),
        attention_trunk={"name": "resnet18", "strides": (1, 1, 2, 1)},
        resolution=int(chosen["resolution"]),
        attention=chosen["attention"],
        attention_size=224,
        parts=0 if alone else int(chosen["parts"]),
        selection=chosen["selection"],
        predict=chosen["predict"],
        **options,
    )


def learning(chosen: dict) -> dict:
    """The objective, and batches of several images of a class where it draws triplets from them."""
    if chosen["warp"] == "none":
        return {"objective": {"name": "distillation", **presets.DISTILLATION}}
    consistency = presets.consistency(chosen["backbone"])
    return {
        "objective": {"name": "consistent_distillation", **presets.DISTILLATION, **consistency},
        "batches": {"name": "balanced", "images_per_class": 4},
    }


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset, config.data_threads = f"drawn:{config.dataset}", 1
    config.input.size = config.input.crop = 80
    config.network.attention_size = 48
    config.network.resolution //= 4
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
    config.head_alone_steps = min(config.head_alone_steps, 2)
    if config.objective.name == "consistent_distillation":
        config.batches.images_per_class, config.network.warp.window = 2, (3, 3)
        config.objective.update(presets.OF_UNIT_LENGTH)
