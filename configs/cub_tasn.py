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

from ml_collections import ConfigDict

from vtnjax.nn.trilinear_attention import TABLE_2
from vtnjax.train.config import Config, choose

TRAINING_IMAGES = {"cub": 5994, "cars": 8144, "inat2017": 579_184}


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
    config = ConfigDict()
    config.backbone = chosen["backbone"]
    config.pretrained = ""
    config.attention_pretrained = ""
    config.frozen_statistics = False
    config.tasn = ConfigDict(tasn_options(chosen))
    config.distillation = ConfigDict(
        {"attention": 1.0, "heads": 0.5, "soft": 1.0, "temperature": 10.0, "detach_teacher": False}
    )

    config.dataset = chosen["dataset"]
    config.test_split = "test"
    config.data_dir = ""
    config.source_options = ConfigDict({"on_error": "raise"})  # or "skip": leave out pictures that cannot be read
    config.photo = ConfigDict({"size": 512, "crop": 512, "keep_aspect": True, "rotation": 30.0, "flip": True})
    config.photo.update({"colour": 0.4, "pca_noise": 0.1})
    config.data_threads = 8

    config.batch_size = 96
    steps_per_epoch = TRAINING_IMAGES[config.dataset] // config.batch_size
    config.steps = 300 * steps_per_epoch
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "sgd"
    config.momentum = 0.0
    config.learning_rate = 0.1
    config.learning_rate_batch = 96
    config.schedule = "step"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3)
    config.decay_factor = 0.1
    config.weight_decay = 0.0
    config.clip_norm = 0.0
    config.localiser_multiplier = 1.0

    config.log_every = 50
    config.eval_every = 5 * steps_per_epoch
    config.checkpoint_every = 5 * steps_per_epoch
    config.tensorboard = False

    if chosen["smoke"]:
        make_small(config)
    return config


def tasn_options(chosen: dict) -> dict:
    """What the network is made of, as `models.TASN` has it."""
    alone = chosen["branch"] == "master" or chosen["sampler"] == "none"
    return {
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
    config.dataset = f"drawn:{config.dataset}"
    config.photo.size = config.photo.crop = 80
    config.tasn.attention_size = 48
    config.tasn.resolution //= 4
    config.data_threads = 1
    config.batch_size = 8
    config.steps, config.log_every, config.eval_every, config.checkpoint_every = 4, 1, 2, 2
