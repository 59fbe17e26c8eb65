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

from vtnjax.recipes import presets
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
    count, backbone, (size, crop) = int(chosen["transformers"]), chosen["backbone"], IMAGES[chosen["resolution"]]
    config = presets.run(
        network={
            "name": "multi_stream",
            "trunk": {"name": backbone},
            "count": count,
            "size": 224,
            "scale": 0.5,
            "width": 128,
            "downscale": int(chosen["resolution"]) // 224,
            "dropout": 0.7,
        },
        picture={"name": "windows" if count else "gallery"},
        pretrained="",
        steps=30_000,
        batch_size=256,
        localiser_multiplier=1e-4 if count else 1.0,
        **presets.photographs(chosen["dataset"], size=size, crop=crop, keep_aspect=True, rotation=0.0, flip=True),
        **presets.sgd(0.1, boundaries=(1 / 3, 2 / 3, 5 / 6)) | {"weight_decay": 1e-5},
        **presets.every(50, 1000),
    )
    if chosen["smoke"]:
        make_small(config)
    return config


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset, config.data_threads = f"drawn:{config.dataset}", 1
    config.input.size, config.input.crop = config.input.size // 4, config.input.crop // 4
    config.network.size //= 4
    config.learning_rate = 1e-2
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
