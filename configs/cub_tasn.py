"""Fine-grained recognition with the trilinear attention sampling network: every row of TASN's Tables 2 to 5.

    python train.py --config configs/cub_tasn.py --config.data_dir=CUB_200_2011 \
        --config.pretrained=timm/resnet50.tv_in1k --config.attention_pretrained=timm/resnet18.tv_in1k

`data_dir` is the folder as the archive unpacks; the weights are files or names on the Hugging Face hub, see
`models.load_pretrained` ("" is random). Variants, joined by commas, the first value of each being the default:

- `backbone=resnet50|resnet101|vgg19|resnet18|squeezenet` of both nets;
- `dataset=cub|cars|inat2017`;
- `resolution=224|280|336|392|448` of the sampled images;
- `sampler=inverse_cdf|ssn|uniform|none` (Table 3; with "none" it is the plain backbone at that resolution);
- `branch=tasn|master`: with the part-net and distillation, or the master-net alone (Table 4);
- `parts=1|2` maps a step;
- `attention=both|features|plain|spatial|spatial_both|output|relation|self`, the rows of Table 2: "both" N(N(X)X')X,
  "features" X, "plain" XX'X, "spatial" N(X)X'X, "spatial_both" N(X)N(X)'X, "output" N(XX'X), "relation" N(XX')X, and
  "self", self-attention;
- `predict=master|part`: which net's accuracy is reported; Table 2 has the part-net's;
- `selection=random|ranked` of the maps;
- `smoke`: the same on a few drawn pictures, random weights and small images, under two minutes on two CPU cores.

The recipe is the reference implementation's: SGD without momentum or weight decay, rate 0.1 for a batch of 96 (in
proportion to the batch), divided by 10 after 100 and 200 of 300 epochs; crops of 512 x 512, mirrored, turned, with
colour and PCA noise. Nothing was measured with it: CUB could not be had where this was written. The
batch is that of all devices together, and BatchNorm sees both kinds of images of all of it; the reference has 12 of
each a device.
"""

from ml_collections import ConfigDict, FieldReference

from vtnjax.nn.trilinear_attention import TABLE_2
from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        backbone=("resnet50", "resnet101", "vgg19", "resnet18", "squeezenet"),
        dataset=("cub", "cars", "inat2017"),
        sampler=("inverse_cdf", "ssn", "uniform", "none"),
        resolution=("224", "280", "336", "392", "448"),
        attention=tuple(TABLE_2),
        branch=("tasn", "master"),
        parts=("1", "2"),
        selection=("random", "ranked"),
        predict=("master", "part"),
        smoke=False,
    )
    dataset, batch_size = chosen["dataset"], FieldReference(96)
    schedule = presets.sgd(0.1) | {"learning_rate": batch_size.to_float() / 96 * 0.1}
    config = presets.run(
        network={"name": "tasn", **tasn_options(chosen)},
        objective={"name": "distillation", **presets.DISTILLATION},
        picture={"name": "before_after"},
        pretrained="",
        attention_pretrained="",
        batch_size=batch_size,
        **presets.photographs(
            dataset, size=512, crop=512, keep_aspect=True, rotation=30.0, flip=True, colour=0.4, pca_noise=0.1
        ),
        **schedule,
        **presets.epochs(300, presets.TRAINING_IMAGES[dataset], batch_size, log=50, test=5),
    )
    if chosen["smoke"]:
        make_small(config)
    return config


def tasn_options(chosen: dict) -> dict:
    """What the network is made of, as `models.TASN` has it."""
    alone = chosen["branch"] == "master" or chosen["sampler"] == "none"
    return {
        "trunk": {"name": chosen["backbone"]},
        "attention_trunk": {"name": "resnet18", "strides": (1, 1, 2, 1)},
        "sampler": chosen["sampler"],
        "resolution": int(chosen["resolution"]),
        "attention": {"kind": "trilinear", "sharpness": 7.0, **TABLE_2[chosen["attention"]]},
        "attention_size": 224,
        "parts": 0 if alone else int(chosen["parts"]),
        "selection": chosen["selection"],
        "predict": chosen["predict"],
        "dense": 4.0,
        "iterations": 5,
    }


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset, config.data_threads = f"drawn:{config.dataset}", 1
    config.input.size = config.input.crop = 80
    config.network.attention_size = 48
    config.network.resolution //= 4
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
