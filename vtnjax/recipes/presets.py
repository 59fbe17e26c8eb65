"""Pieces that the configs share.

    config = presets.run(network={...}, dataset="digits", steps=6000, batch_size=256, **presets.adam(3e-3))

A config is an `ml_collections.ConfigDict` that says what it is: `network`, `input`, `batches`, `objective`,
`evaluation` and `picture` are dictionaries with a `name`, which `vtnjax.recipes` looks up, and the options of what has
that name.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from ml_collections import ConfigDict, FieldReference

from vtnjax.data.sets import SETS
from vtnjax.nn.trilinear_attention import TABLE_2
from vtnjax.train.config import Config

Whole: TypeAlias = int | FieldReference

# The numbers of images to train on in the published sets of photographs.
TRAINING_IMAGES = {name: entry.train_images for name, entry in SETS.items() if entry.train_images}

# The reference implementation's, of a TASN (see `recipes.Distillation`).
DISTILLATION = {"attention": 1.0, "heads": 0.5, "soft": 1.0, "temperature": 10.0, "detach_teacher": False}

# The paper's VTN: C = 32 groups, 11 x 11 candidates and beta = 10 (VTN section 3.5).
VTN = {"name": "vtn", "groups": 32, "window": (11, 11), "temperature": 10.0}
# Destruction and construction learning as its reference code has it, for birds.
DESTRUCTION = {"adversarial": 1.0, "location": 1.0, "reach": 2, "scheme": "reference"}
# Of the consistency loss on features of another size than those that the paper's margins are for.
OF_UNIT_LENGTH = {"margin": 0.5, "positions": "mean", "normalise": True}

_DEFAULTS: dict[str, Any] = {
    "input": {"name": "images", "distortion": "none"},
    "batches": {"name": "shuffled"},
    "objective": {"name": "cross_entropy"},
    "evaluation": {"name": "classification"},
    "picture": {"name": "gallery"},
    "test_split": "test",
    "data_dir": "",
    "source_options": {},
    "data_threads": 1,
    "seed": 0,
    "dtype": "float32",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "localiser_multiplier": 1.0,
    "trunk_multiplier": 1.0,
    "head_multiplier": 1.0,
    "head_alone_steps": 0,
    "label_smoothing": 0.0,
    "class_weights": (),
    "ema": 0.0,
    "micro_batches": 1,
    "frozen_statistics": False,
    "tensorboard": False,
}


def run(*, network: dict[str, Any], dataset: str, steps: Whole, batch_size: Whole, **values: Any) -> Config:
    """A config with everything that a run needs.

    Args:
        network: the `name` and the options of the network, see `recipes.NETWORKS`.
        dataset: the name of a set that `data.load_source` knows.
        steps: the number of steps of the run.
        batch_size: the number of images in a batch of all devices together.
        **values: the values that differ from the defaults, or come beside them, such as those of `adam` and `every`.
    """
    given = {"network": network, "dataset": dataset, "steps": steps, "batch_size": batch_size, **values}
    return ConfigDict({**_DEFAULTS, **given})


def adam(rate: float, *, clip_norm: float = 1.0) -> dict[str, Any]:
    """Adam at a rate that falls to 0 as a cosine; what other optimisers and schedules take stands beside it."""
    return _schedule("adam", rate, "cosine", momentum=0.9, clip_norm=clip_norm)


def sgd(rate: float, *, boundaries: Sequence[float] = (1 / 3, 2 / 3), momentum: float = 0.0) -> dict[str, Any]:
    """SGD, with momentum or without, at a rate that is divided by 10 at each of some fractions of the run."""
    optimiser = "momentum" if momentum else "sgd"
    return _schedule(optimiser, rate, "step", momentum=momentum, boundaries=tuple(boundaries), clip_norm=0.0)


def every(log: int, test: Whole, save: Whole | None = None) -> dict[str, Any]:
    """The steps between two logged figures, between two tests, and between two checkpoints (by default as tests)."""
    return {"log_every": log, "eval_every": test, "checkpoint_every": test if save is None else save}


def distorted_digits(model: str, warp: str, distortion: str) -> dict[str, Any]:
    """A network of the STN paper's Table 1, plain or with a transformer, for digits that a distortion makes."""
    warps = model.startswith("st_")
    # A.4 halves what a transformer made of the larger canvases; a plain network reads them as they are.
    pool = 2 if warps and distortion in ("RTS", "TC") else 1
    parameters = 400_000  # about so many, A.4
    return {
        "network": {"name": "stn", "model": model, "warp": warp, "parameters": parameters, "pool": pool},
        "input": {"name": "images", "distortion": distortion},
        "picture": {"name": "before_after" if warps else "gallery"},
    }


def photographs(name: str, **options: Any) -> dict[str, Any]:
    """A set of photographs, read by eight threads.

    Args:
        name: the name of the set; `--config.source_options.on_error=skip` leaves out pictures that cannot be read.
        **options: the options of the input, which are arguments of `data.photo_augment`.
    """
    values = {"dataset": name, "source_options": {"on_error": "raise"}, "data_threads": 8}
    return {**values, "input": {"name": "photographs", **options}}


def epochs(count: int, images: int, batch_size: FieldReference, *, log: int, test: int) -> dict[str, Any]:
    """A run of some epochs, tested and saved after every `test` of them, which follows `--config.batch_size`."""
    steps = images // batch_size
    return {"steps": count * steps, **every(log, test * steps)}


def trunk(backbone: str, head: str) -> dict[str, Any]:
    """A backbone before a head. The roots of covariances want positions: a ResNet's last stage keeps its resolution."""
    fine = head in ("mpncov", "isqrt") and backbone.startswith("resnet")
    return {"name": backbone, **({"strides": (1, 2, 2, 1)} if fine else {})}


def tasn(sampler: str, *, attention: str = "both", **options: Any) -> dict[str, Any]:
    """A TASN with the reference implementation's choices.

    Args:
        sampler: of the images, as `models.TASN` has it.
        attention: the kind of maps, a name of `nn.trilinear_attention.TABLE_2`.
        **options: `trunk`, `attention_trunk`, `attention_size`, `resolution`, `parts`, and what differs from the
            defaults of `models.TASN`.
    """
    maps = {"kind": "trilinear", "sharpness": 7.0, **TABLE_2[attention]}
    chosen = {"selection": "random", "predict": "master", "dense": 4.0, "iterations": 5, **options}
    return {"name": "tasn", "sampler": sampler, "attention": maps, **chosen}


def dcl(**parts: Any) -> dict[str, Any]:
    """A `models.DCL` of some parts, `trunk` and `warp`, with the reference code's 7 x 7 regions."""
    return {"name": "dcl", "adversarial": "classes", "regions": 7, "predict": "classifier", **parts}


def head(name: str, backbone: str) -> dict[str, Any]:
    """A head that pools the last features of a backbone, with the options of its paper.

    Of the 2,048 channels of a ResNet-50 or -101 bilinear pooling would make 4 million numbers: they are reduced first.
    """
    options = {
        "bp": {"reduced": 512} if backbone in ("resnet50", "resnet101") else {},
        "cbp": {"size": 8192},
        "kp": {"size": 4096, "orders": 4, "gamma": 1.0, "unit": True},
        "mpncov": {"reduced": 256},
        "isqrt": {"reduced": 256, "iterations": 5},
    }
    return {"name": name, **options.get(name, {})}


def second_order(head: str, alone: Whole) -> dict[str, Any]:
    """What a head of second-order pooling is trained and tested with: its own rate, and mirrored test images.

    iSQRT-COV and MPN-COV learn at 5 times the network's rate, the others at 10 times, and alone at first.

    Args:
        head: a name of `recipes.POOLINGS`; any other asks for nothing.
        alone: the number of steps at the beginning in which the heads "bp", "cbp" and "kp" alone learn.
    """
    mirrored = {"evaluation": {"name": "classification", "flip": True}}
    if head in ("isqrt", "mpncov"):
        return {**mirrored, "head_multiplier": 5.0}
    if head in ("bp", "cbp", "kp"):
        return {**mirrored, "head_multiplier": 10.0, "head_alone_steps": alone}
    return {}


def consistency(backbone: str) -> dict[str, Any]:
    """VTN's consistency loss: weight lambda = 1 and margin alpha = 20 with a VGG, 30 with a ResNet (section 3.5)."""
    margin = 20.0 if backbone.startswith("vgg") else 30.0
    return {"weight": 1.0, "margin": margin, "positions": "sum", "normalise": False}


def make_short(config: Config, *, steps: int, log: int, test: int, batch_size: int) -> None:
    """Make a run just long enough to see that everything runs, with tests and checkpoints on the way."""
    config.steps, config.batch_size = steps, batch_size
    config.update(every(log, test))


def _schedule(optimiser, rate, schedule, *, momentum, clip_norm, boundaries=(1 / 3, 2 / 3)):
    values = {"optimiser": optimiser, "learning_rate": rate, "schedule": schedule, "momentum": momentum}
    return {**values, "clip_norm": clip_norm, "boundaries": boundaries, "decay_factor": 0.1}
