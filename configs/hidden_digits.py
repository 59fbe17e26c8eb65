"""A digit hidden in a large cluttered image: does sampling by attention find what decides? TASN's claim, offline.

    python train.py --config configs/hidden_digits.py

128 x 128 pixels, of which the digit's box has at most 3.5 %. Variants, joined by commas, the first value of each being
the default:

- `method=tasn|master|uniform|ssn|low|high`: "low" and "high" are the plain trunk on images resized to 48 x 48 and on
  all pixels; "uniform", "ssn" and "master" read images of 48 x 48 sampled by one attention map, as TASN's Table 3 has
  them: in the box of attention above its mean, by the saliency sampler's grid, by inverse CDF; "tasn" is the whole
  network with part-net and distillation;
- `attention=both|features|plain|spatial|spatial_both|output|relation|self`: the rows of Table 2, as in cub_tasn.py;
- `predict=master|part`: which net's accuracy is reported; Table 2 reports the part-net's;
- `split=test|validation`: which images are tested on; the validation images are for tuning;
- `smoke`: the same on little data, in less than two minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from vtnjax.nn.trilinear_attention import TABLE_2
from vtnjax.train.config import choose

SIZE, SMALL = 128, 48
SAMPLERS = {"low": "none", "high": "none", "uniform": "uniform", "ssn": "ssn"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        method=("tasn", "master", "uniform", "ssn", "low", "high"),
        attention=tuple(TABLE_2),
        predict=("master", "part"),
        split=("test", "validation"),
        smoke=False,
    )
    config = ConfigDict()
    config.backbone = "small"
    config.widths = (16, 32, 64, 64)
    config.attention_widths = (16, 32, 64)
    config.pretrained = ""
    config.attention_pretrained = ""
    config.tasn = ConfigDict(tasn_options(chosen))
    config.distillation = ConfigDict(
        {"attention": 1.0, "heads": 0.5, "soft": 1.0, "temperature": 10.0, "detach_teacher": False}
    )

    config.dataset = "hidden_digits"
    config.test_split = chosen["split"]
    config.data_dir = ""
    config.source_options = ConfigDict()
    config.data_threads = 1

    config.batch_size = 64
    config.steps = 600
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "adam"
    config.momentum = 0.9
    config.learning_rate = 3e-3
    config.schedule = "cosine"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3)
    config.decay_factor = 0.1
    config.weight_decay = 0.0
    config.clip_norm = 1.0
    config.localiser_multiplier = 1.0

    config.log_every = 100
    config.eval_every = 300
    config.checkpoint_every = 300
    config.tensorboard = False

    if chosen["smoke"]:
        config.source_options = ConfigDict({"drawn": True, "count": 128})
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 6, 2, 3, 3
        config.batch_size = 16
    return config


def tasn_options(chosen: dict) -> dict:
    """What the network is made of, as `models.TASN` has it."""
    return {
        "sampler": SAMPLERS.get(chosen["method"], "inverse_cdf"),
        "resolution": SIZE if chosen["method"] == "high" else SMALL,
        "attention": {"kind": "trilinear", "sharpness": 7.0, **TABLE_2[chosen["attention"]]},
        "attention_size": SMALL,
        "parts": 1 if chosen["method"] == "tasn" else 0,
        "selection": "random",
        "predict": chosen["predict"],
        "dense": 4.0,
        "iterations": 5,
    }
