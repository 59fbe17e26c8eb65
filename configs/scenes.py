"""Objects cut out of photographs and put into others, turned, tilted and partly hidden: does a warp of features help?

    python train.py --config configs/scenes.py --config.data_dir=/usr/share/tuxpaint/stamps

`data_dir` holds the stamps of Tux Paint (`apt-get install tuxpaint-stamps-default` on Debian and Ubuntu) or others laid
out like them; the photographs behind are those of scikit-image (extra `scenes`) and, where installed, of the packages
mate-backgrounds and opencv-doc. SqueezeNet has its ImageNet weights (extra `squeezenet`); `pretrained` may be another
file or name, see `models.load_pretrained` ("" is random weights). Scenes have 224 x 224 pixels. Variants, joined by
commas, the first value of each being the default:

- `task=fine|all`: the birds, 34 species, or all stamps of 96 pixels and more, 253 species;
- `trunk=squeezenet|small|resnet18`: whose last map, of about 14 x 14 positions, is warped; "small" learns from scratch;
- `warp=vtn|none|stn|ssn|asn|deformable|tasn`: of the last features, by a VTN, by nothing, by one affine warp, by the
  saliency or the attention sampler, or by making the last convolution deformable; or of the image, by a TASN, which
  samples scenes of twice the size to 224 x 224, and whose attention is that of a second trunk;
- `attention=squared|plain`: what the attention sampler samples by, TASN's squared attention or the attention itself;
- `head=pooled|bp|cbp|kp|mpncov|isqrt`: how the warped features are pooled, as in cub_vtn.py;
- `dcl`: destruction and construction learning, as in cub_dcl.py;
- `ablation=none|mixing|grouping|probability|consistency`: VTN without one of its parts;
- `frozen`: the features of the frozen trunk, which `python -m vtnjax.experiments.store_features scenes` computed once,
  in place of images; `data_dir` is the folder that it wrote;
- `split=test|validation`: which scenes are tested on; the validation scenes are for tuning;
- `localise`: tested once, at the end, also by where the network sees the object, with
  `heat=grad_cam|hires_cam`: by which map, see `evaluate.hires_cam`;
- `smoke`: the same on a few drawn stamps, random weights and small images, in less than two minutes on two CPU cores.

Training, validation and test scenes have the same stamps, because most species have but one, and different backgrounds.
SqueezeNet's features are divided by 40 before they are warped (`network.scale`), and VTN's softmax has the temperature
1. The consistency loss is averaged over the positions and on features of unit length, as configs/composites.py has it.
Heads of second order learn at the multiples of the rate that cub_vtn.py has, but no mirror images are in tests: no
scene is mirrored in training. A trunk with weights of ImageNet learns at a tenth of the rate of warps and heads. The
rates were tried with SqueezeNet (docs/results/vtn.md); those of other trunks are first guesses. Pairs of scenes are
what configs/retrieval.py:dataset=scenes learns from.
"""

from typing import Any

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import Config, choose

SIZE = 224
# Of warps, heads and a trunk that learns from scratch, and of one that was trained before.
RATE, TRUNK_RATE = 1e-3, 1e-4
# Activations of SqueezeNet's last map reach several hundred. Layers are drawn, and VTN's softmax is, for smaller ones.
SCALES = {"squeezenet": 1 / 40, "small": 1.0, "resnet18": 1.0}
CHANNELS = {"squeezenet": 512, "small": 128, "resnet18": 512}
PICTURES = {"none": "gallery", "deformable": "gallery", "tasn": "before_after"}
# Those whose last map has a sixteenth of the image's height and width.
TRUNKS = {
    "squeezenet": {"name": "squeezenet"},
    "small": {"name": "small", "widths": (16, 32, 64, 64, 128)},
    "resnet18": {"name": "resnet18", "strides": (1, 2, 2, 1)},
}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        task=("fine", "all"),
        trunk=tuple(TRUNKS),
        warp=("vtn", "none", "stn", "ssn", "asn", "deformable", "tasn"),
        attention=("squared", "plain"),
        head=("pooled", "bp", "cbp", "kp", "mpncov", "isqrt"),
        ablation=("none", "mixing", "grouping", "probability", "consistency"),
        split=("test", "validation"),
        dcl=False,
        frozen=False,
        localise=False,
        heat=("grad_cam", "hires_cam"),
        smoke=False,
    )
    warp = chosen["warp"]
    for part, usual, of in (("ablation", "none", "vtn"), ("attention", "squared", "asn")):
        if chosen[part] != usual and warp != of:
            raise ValueError(f"the variant {part}={chosen[part]} belongs to warp={of}, not to warp={warp}")
    if warp == "tasn" and (chosen["dcl"] or chosen["frozen"] or chosen["localise"] or chosen["head"] != "pooled"):
        raise ValueError("the variant warp=tasn must stand beside none of dcl, frozen, localise and head")
    steps, between = (1000, 250) if chosen["frozen"] else (300, 100)
    heads: dict[str, Any] = presets.second_order(chosen["head"], alone=steps // 3)
    heads |= {"evaluation": evaluation(chosen)}
    photographs = presets.photographs("scenes", size=SIZE, crop=SIZE, rotation=0.0, flip=False)
    config = presets.run(
        network=network(chosen),
        batches={"name": "balanced", "images_per_class": 4},
        objective=objective(chosen),
        picture={"name": PICTURES.get(warp, "fields")},
        test_split=chosen["split"],
        pretrained="ndf" if chosen["trunk"] == "squeezenet" else "",
        steps=steps,
        batch_size=32,
        **photographs | {"source_options": {"task": chosen["task"], "size": SIZE}, "data_threads": 2},
        **presets.adam(RATE if chosen["frozen"] or chosen["trunk"] == "small" else TRUNK_RATE) | {"weight_decay": 1e-4},
        **presets.every(50, steps if chosen["localise"] else between, between),
        **heads,
    )
    if chosen["frozen"]:
        read_features(config)
    if warp == "tasn":
        read_large(config)
    set_rates(config, chosen)
    if chosen["smoke"]:
        make_small(config)
    return config


def evaluation(chosen: dict) -> dict:
    """The classes alone, or also by where the network sees the object."""
    by_positions = {"method": chosen["heat"]} if chosen["heat"] != "grad_cam" else {}
    if by_positions and not chosen["localise"]:
        raise ValueError(f"the variant heat={chosen['heat']} belongs to localise, and must not stand without it")
    return {"name": "localisation", **by_positions} if chosen["localise"] else {"name": "classification"}


def network(chosen: dict) -> dict:
    """A trunk, a warp of its last features, and a head; or a TASN, or a network that learns from shuffled images."""
    if chosen["warp"] == "tasn":
        trunks: dict[str, Any] = {name: dict(TRUNKS[chosen["trunk"]]) for name in ("trunk", "attention_trunk")}
        sizes = {"resolution": SIZE, "attention_size": SIZE}
        return presets.tasn("inverse_cdf", parts=1, scale=SCALES[chosen["trunk"]], **sizes, **trunks)
    parts = {"trunk": TRUNKS[chosen["trunk"]], "warp": {"name": chosen["warp"], **warp_options(chosen)}}
    parts["scale"] = SCALES[chosen["trunk"]]
    if not chosen["dcl"]:
        return {"name": "warped_features", **parts, "head": presets.head(chosen["head"], chosen["trunk"])}
    if chosen["frozen"] or chosen["head"] != "pooled":
        raise ValueError("the variant dcl must stand beside neither frozen nor a head other than pooled")
    return presets.dcl(**parts)


def warp_options(chosen: dict) -> dict:
    """What a warp has beside its name; a VTN has 5 x 5 candidates, or is without one of its parts."""
    if chosen["warp"] == "deformable":
        return {"groups": 4}
    if chosen["warp"] == "ssn":
        return {"pad": 30}  # of 31 cells: a place reads from anywhere
    if chosen["attention"] == "plain":
        return {"squared": False}
    if chosen["warp"] != "vtn":
        return {}
    options = {"groups": 8 if chosen["trunk"] == "small" else 32, "window": (5, 5), "temperature": 1.0}
    if chosen["ablation"] == "mixing":
        options["mix_channels"] = False
    if chosen["ablation"] == "probability":
        options["probabilistic"] = False
    if chosen["ablation"] == "grouping":
        options["groups"] = CHANNELS[chosen["trunk"]]
    return options


def objective(chosen: dict) -> dict:
    """Nothing but a VTN has the consistency loss, and nothing but a TASN learns from its part-net."""
    if chosen["warp"] == "tasn":
        return {"name": "distillation", **presets.DISTILLATION}
    destruction = presets.DESTRUCTION if chosen["dcl"] else {}
    if chosen["warp"] != "vtn" or chosen["ablation"] == "consistency":
        return {"name": "destruction" if destruction else "cross_entropy", **destruction}
    name = "consistent_destruction" if destruction else "consistency"
    return {"name": name, **destruction, "weight": 1.0, **presets.OF_UNIT_LENGTH}


def read_features(config: Config) -> None:
    """Stored features in place of images and of a trunk."""
    with config.unlocked():
        config.update({"dataset": "stored", "data_threads": 1})
        config.source_options, config.input = {}, {"name": "images", "distortion": "none"}
        config.network.trunk, config.pretrained = {"name": "none"}, ""


def read_large(config: Config) -> None:
    """Scenes of twice the size, and trunks that learn more slowly than all else if they were trained before."""
    config.source_options.size = config.input.size = config.input.crop = 2 * SIZE
    with config.unlocked():
        config.attention_pretrained = config.pretrained
    config.trunk_multiplier, config.learning_rate = config.learning_rate / RATE, RATE


def set_rates(config: Config, chosen: dict) -> None:
    """The rates of warp and head, which do not depend on that of the trunk."""
    faster = RATE / config.learning_rate
    if chosen["warp"] not in ("none", "asn", "tasn"):  # samplers by attention have no parameters of their own
        # At the full rate an affine warp leaves the map for good.
        config.localiser_multiplier = faster * (0.1 if chosen["warp"] == "stn" else 1.0)
    config.head_multiplier *= faster
    if chosen["head"] == "pooled":
        config.head_multiplier /= SCALES[chosen["trunk"]]


def make_small(config: Config) -> None:
    """The same code on drawn stamps and small images."""
    config.dataset, config.data_threads, config.pretrained = "drawn:scenes", 1, ""
    config.source_options.update({"size": 64, "count": 24})
    config.input.size = config.input.crop = 64
    config.batches.images_per_class = 2
    presets.make_short(config, steps=4, log=1, test=2, batch_size=8)
    config.head_alone_steps = min(config.head_alone_steps, 2)
    if config.network.name == "tasn":
        config.attention_pretrained, config.network.attention_size, config.network.resolution = "", 48, 48
    elif config.network.warp.name == "vtn":
        config.network.warp.window = (3, 3)
