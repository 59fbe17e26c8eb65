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
from vtnjax.recipes import presets
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
    config = presets.run(
        network=network(chosen),
        objective={"name": "distillation", **presets.DISTILLATION},
        picture={"name": "before_after"},
        dataset="hidden_digits",
        test_split=chosen["split"],
        pretrained="",
        attention_pretrained="",
        steps=600,
        batch_size=64,
        **presets.adam(3e-3),
        **presets.every(100, 300),
    )
    if chosen["smoke"]:
        config.source_options = ConfigDict({"drawn": True, "count": 128})
        presets.make_short(config, steps=6, log=2, test=3, batch_size=16)
    return config


def network(chosen: dict) -> dict:
    """What the network is made of, as `models.TASN` has it."""
    method = chosen["method"]
    return presets.tasn(
        SAMPLERS.get(method, "inverse_cdf"),
        trunk={"name": "small", "widths": (16, 32, 64, 64)},
        attention_trunk={"name": "small", "widths": (16, 32, 64)},
        resolution=SIZE if method == "high" else SMALL,
        attention=chosen["attention"],
        attention_size=SMALL,
        parts=1 if method == "tasn" else 0,
        predict=chosen["predict"],
    )
