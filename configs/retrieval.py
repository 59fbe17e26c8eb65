"""Fine-tuning of networks that describe images, so that those of one landmark or thing are near (VTN section 4.5).

    python train.py --config configs/retrieval.py --config.data_dir=retrieval-SfM-120k \
        --config.evaluation.data_dir=roxford5k --config.pretrained=timm/resnet101.tv_in1k

`data_dir` is the folder with `retrieval-SfM-120k.pkl` and `ims`, `evaluation.data_dir` that of the benchmark; for
`dataset=scenes` it is that of the stamps, twice. `pretrained` is a file or a name on the Hugging Face hub, see
`models.load_pretrained` ("" is random weights). Variants, joined by commas, the first value of each being the default:

- `dataset=landmarks|scenes`: the tuples of retrieval-SfM-120k, or of scenes of stamps (configs/scenes.py) whose other
  half the benchmark searches for;
- `benchmark=auto|roxford5k|rparis6k|scenes`: what is searched, by default roxford5k, and scenes after scenes;
- `trunk=auto|resnet101|resnet50|vgg16|squeezenet`: by default a ResNet-101 for landmarks and SqueezeNet, with the
  weights of ImageNet that a package brings, for scenes and for `smoke`;
- `pool=gem|mac|spoc|crow|rmac`: how the last features become a descriptor;
- `warp=none|stn|vtn` of the last features before that; a VTN has its consistency loss on each query, its positive and
  its hardest negative;
- `split=test|validation`: with `validation` the benchmark scenes searches for the stamps that are learned from, by
  which rates are chosen;
- `loss=contrastive|triplet`, with the margins 0.85 and 0.1;
- `tuned`, the default, or `off`: whether the network is trained, or tested and saved as it is, off the shelf, for
  which landmarks need no `data_dir`;
- `smoke`: the same on a few drawn pictures, random weights and small images, in less than two minutes on two CPU cores.

With landmarks all is as Radenovic (2018) and the reference code have it, but for what follows: tuples of a query, a
positive and 5 negatives, 5 of them a step; 2,000 pairs and 20,000 images for negatives, mined anew after each epoch of
400 steps; 100 epochs; Adam at the paper's rate of 5e-7 with a weight decay of 1e-6; the power of GeM at 10 times the
rate; the trunk's BatchNorm with its running statistics. Eight things differ. Images are squares of 362 pixels, the
shorter side at 362 and cropped, where the code has whole images with the longer side at 362, one at a time. The rate
falls by exp(-0.2) in steps of 20 epochs, where the code has exp(-0.01) each epoch. The weight decay is decoupled from
Adam, so that it reaches the power of GeM too, and moves it by less than 1e-6 in the whole run. The loss is a mean over
the tuples, not a sum. The weights of ImageNet are not those of Caffe, with which the paper's figures were made. Tests
read images at one scale, where the paper joins three (`--config.evaluation.scales`), and whiten nothing. And what is
kept is the last checkpoint; the best is chosen by the benchmark and not by a validation loss. With `loss=triplet` all
this stays, and regions of R-MAC are not whitened, where Gordo (2017) has SGD at 1e-3 and whitened regions.

A VTN or STN learns at 10 times the rate of the trunk. With scenes there are 100 steps of 8 tuples and one test, at the
end, with the rate 1e-4 for the trunk and an STN, and for a VTN that of configs/scenes.py, 1e-3. Of a VTN the softmax
has the temperature 1 behind SqueezeNet, and its consistency loss is averaged over positions, on features of unit
length, and has the weight 0.1. The rate of the trunk was chosen with `split=validation`.

Nothing was measured with landmarks: neither the tuples nor the benchmarks could be had where this was written.
"""

import math

from ml_collections import ConfigDict, FieldReference

from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose

EPOCHS, QUERIES, NEGATIVES = 100, 2000, 5
SIZES = {"landmarks": 362, "scenes": 224}
SCENES = {"task": "all", "size": SIZES["scenes"], "instances": "train"}
# Of scenes: the rates of a VTN, and of a trunk that was trained before.
RATE, TRUNK_RATE = 1e-3, 1e-4
STEPS, RENEW = 100, 50
CONSISTENCY = 0.1  # the weight of VTN's loss
SQUEEZENET_SCALE = 1 / 40
BENCHMARKS = {"landmarks": "roxford5k", "scenes": "scenes"}
TRUNKS = {"landmarks": "resnet101", "scenes": "squeezenet"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        dataset=("landmarks", "scenes"),
        benchmark=("auto", "roxford5k", "rparis6k", "scenes"),
        trunk=("auto", "resnet101", "resnet50", "vgg16", "squeezenet"),
        pool=("gem", "mac", "spoc", "crow", "rmac"),
        warp=("none", "stn", "vtn"),
        split=("test", "validation"),
        loss=("contrastive", "triplet"),
        tuned=False,
        off=False,
        smoke=False,
    )
    if chosen["tuned"] and chosen["off"]:
        raise ValueError("the variants tuned and off must not stand side by side")
    dataset = chosen["dataset"]
    usual = {"benchmark": BENCHMARKS[dataset], "trunk": "squeezenet" if chosen["smoke"] else TRUNKS[dataset]}
    chosen |= {key: value for key, value in usual.items() if chosen[key] == "auto"}
    landmarks, trunk, size = dataset == "landmarks", chosen["trunk"], SIZES[dataset]
    benchmark = {"benchmark": searched(chosen), "data_dir": "", "descriptors": "", "whitening": ""}
    benchmark |= {"size": SIZES["scenes"] if chosen["benchmark"] == "scenes" else 1024, "scales": (1.0,), "exact": True}
    name = "landmark_tuples" if landmarks else "scenes"
    config = presets.run(
        network=network(chosen),
        objective=objective(chosen),
        evaluation={"name": "retrieval", **benchmark},
        picture={"name": "retrieved"},
        test_split="val" if landmarks else "validation",
        pretrained="ndf" if trunk == "squeezenet" else "",
        frozen_statistics=trunk.startswith("resnet"),
        **presets.photographs(name, size=size, crop=size, keep_aspect=True, rotation=0.0, flip=False)
        | ({} if landmarks else {"source_options": SCENES, "data_threads": 2}),
        **(of_landmarks() if landmarks else of_scenes()),
    )
    if chosen["warp"] != "none":
        of_scenes_warps = {"stn": 1.0, "vtn": RATE / config.learning_rate}
        config.localiser_multiplier = 10.0 if landmarks else of_scenes_warps[chosen["warp"]]
    if chosen["pool"] == "gem":
        config.head_multiplier = 10.0
    if chosen["off"]:
        config.steps = 0
        if landmarks:
            config.dataset = f"drawn:{name}"  # which nothing is learned from
    if chosen["smoke"]:
        make_small(config)
    return config


def searched(chosen: dict) -> str:
    """The benchmark, of which scenes have a validation split."""
    if chosen["split"] == "test":
        return chosen["benchmark"]
    if chosen["benchmark"] != "scenes":
        raise ValueError(f"the variant split=validation is for the benchmark scenes, not {chosen['benchmark']}")
    return "scenes_train"


def network(chosen: dict) -> dict:
    """A trunk, a warp of its last features and a pooling of them."""
    small = chosen["trunk"] == "squeezenet"
    warp = {"name": chosen["warp"]}
    if chosen["warp"] == "vtn":
        warp = {**presets.VTN, **({"window": (5, 5), "temperature": 1.0} if small else {})}
    parts = {"trunk": {"name": chosen["trunk"]}, "warp": warp, "pool": {"name": chosen["pool"]}}
    return {"name": "retrieval", **parts, "whitening": 0, "scale": SQUEEZENET_SCALE if small else 1.0}


def objective(chosen: dict) -> dict:
    """A loss with its margin, and VTN's consistency loss beside it where there is a VTN."""
    margin = {"contrastive": 0.85, "triplet": 0.1}[chosen["loss"]]
    consistency = {}
    if chosen["warp"] == "vtn":
        trunk = chosen["trunk"]
        consistency = presets.consistency(trunk) | (presets.OF_UNIT_LENGTH if trunk == "squeezenet" else {})
        if chosen["dataset"] == "scenes":
            consistency["weight"] = CONSISTENCY
    return {"name": chosen["loss"], "margin": margin, "consistency": consistency}


def of_landmarks() -> dict:
    """The batches, the length and the rates of Radenovic (2018)."""
    batch_size = FieldReference(5 * (2 + NEGATIVES))
    epoch = QUERIES * (2 + NEGATIVES) // batch_size
    batches = {"name": "tuples", "negatives": NEGATIVES, "renew_every": epoch, "queries": QUERIES, "pool": 20_000}
    rates = presets.adam(5e-7, clip_norm=0.0) | {"schedule": "step", "weight_decay": 1e-6}
    rates |= {"boundaries": tuple(epoch / EPOCHS for epoch in range(20, EPOCHS, 20)), "decay_factor": math.exp(-0.2)}
    return {"batches": batches, "batch_size": batch_size, "steps": EPOCHS * epoch, **rates} | presets.every(50, epoch)


def of_scenes() -> dict:
    """Few steps of SqueezeNet."""
    batches = {"name": "tuples", "negatives": NEGATIVES, "renew_every": RENEW, "queries": 800, "pool": 1000}
    length = {"batch_size": 8 * (2 + NEGATIVES), "steps": STEPS, **presets.every(25, STEPS, RENEW)}
    return {"batches": batches, **length, **presets.adam(TRUNK_RATE), "weight_decay": 1e-6}


def make_small(config: Config) -> None:
    """The same code on drawn pictures and small images."""
    config.dataset = f"drawn:{config.dataset.removeprefix('drawn:')}"
    config.data_threads, config.pretrained = 1, ""
    config.evaluation.benchmark = f"drawn:{config.evaluation.benchmark}"
    config.input.size = config.input.crop = 64
    if "size" in config.source_options:
        config.source_options.update({"size": 64, "count": 24})
        config.evaluation.size = 64
    steps = config.steps
    presets.make_short(config, steps=4, log=1, test=2, batch_size=6)
    config.batches.update({"negatives": 1, "renew_every": 2, "queries": 4, "pool": 12})
    if not steps:
        config.steps = 0
    if config.network.warp.name == "vtn":
        config.network.warp.window = (3, 3)
        config.objective.consistency.update(presets.OF_UNIT_LENGTH)
