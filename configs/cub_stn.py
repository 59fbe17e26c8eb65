"""Fine-grained recognition of photographs by several attention windows: STN section 4.3 and A.6, Table 3.

    python train.py --config configs/cub_stn.py:transformers=4,resolution=448 --config.data_dir=CUB_200_2011 \
        --config.pretrained=googlenet-1378be20.pth

`data_dir` is the folder as the archive unpacks; `pretrained` torchvision's file, or for another trunk a file or a name
on the Hugging Face hub, see `models.load_pretrained` ("" is random weights): every stream and the localiser begin with
it. Variants, joined by commas, the first value of each being the default:

- `transformers=2|4|0` windows of half the image's sides, each shown at 224 x 224; 0 is the paper's CNN, which reads the
  image itself;
- `resolution=224|448` of the image; the localiser reads 224 x 224 in both;
- `backbone=inception|resnet50|resnet18|squeezenet|small` of the streams and the localiser;
- `dataset=cub|cars|aircraft`;
- `smoke`: the same on a few drawn pictures, random weights and small images. Its time is that of compiling so many
  trunks, with four windows of Inceptions longer than two minutes; `backbone=small` is quick.

The recipe is the paper's: SGD for 30,000 steps of 256, rate 0.1, divided by 10 after 10,000, 20,000 and 25,000, that of
the localiser 1e-4 times as much, weight decay 1e-5, 0.7 of the descriptors dropped; crops at random from the picture
resized to 256 (of 512) at its shorter side, mirrored; the central crop to test. The paper's Inception is another than
the one published (see `models.Inception`), and how it pretrained the CNN's row beyond that it does not say.

A step of 256 photographs runs through five Inceptions with four transformers, whose activations are held at once: this
takes several accelerators, or a smaller `batch_size` with a rate in proportion. The batch is that of all devices
together, and batch statistics are those of all of it. Nothing was measured with this config: CUB could not be had where
it was written.
"""

from ml_collections import ConfigDict

from vtnjax.train.config import Config, choose

IMAGES = {"224": (256, 224), "448": (512, 448)}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        transformers=("2", "4", "0"),
        resolution=("224", "448"),
        backbone=("inception", "resnet50", "resnet18", "squeezenet", "small"),
        dataset=("cub", "cars", "aircraft"),
        smoke=False,
    )
    config = ConfigDict()
    config.backbone = chosen["backbone"]
    config.pretrained = ""
    config.frozen_statistics = False
    config.widths = (16, 32, 64)  # of the trunk "small"
    config.streams = ConfigDict({"count": int(chosen["transformers"]), "size": 224, "scale": 0.5, "width": 128})
    config.streams.update({"downscale": int(chosen["resolution"]) // 224, "dropout": 0.7})

    config.dataset = chosen["dataset"]
    config.test_split = "test"
    config.data_dir = ""
    config.source_options = ConfigDict({"on_error": "raise"})  # or "skip": leave out pictures that cannot be read
    size, crop = IMAGES[chosen["resolution"]]
    config.photo = ConfigDict({"size": size, "crop": crop, "keep_aspect": True, "rotation": 0.0, "flip": True})
    config.data_threads = 8

    config.steps = 30_000
    config.batch_size = 256
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "sgd"
    config.momentum = 0.0
    config.learning_rate = 0.1
    config.schedule = "step"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3, 5 / 6)
    config.decay_factor = 0.1
    config.weight_decay = 1e-5
    config.clip_norm = 0.0
    config.localiser_multiplier = 1e-4 if config.streams.count else 1.0

    config.log_every = 50
    config.eval_every = 1000
    config.checkpoint_every = 1000
    config.tensorboard = False

    if chosen["smoke"]:
        make_small(config)
    return config


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset = f"drawn:{config.dataset}"
    config.photo.size, config.photo.crop = config.photo.size // 4, config.photo.crop // 4
    config.streams.size //= 4
    config.data_threads = 1
    config.batch_size = 8
    config.steps, config.log_every, config.eval_every, config.checkpoint_every = 4, 1, 2, 2
    config.learning_rate = 1e-2
