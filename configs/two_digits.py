"""Two digits in two channels, each moved on its own: STN A.1, and VTN's claim in its smallest form.

    python train.py --config configs/two_digits.py:model=vtn_two

Variants, joined by commas, the first value of each being the default:

- `model=vtn_two|vtn_one|none|affine|affine_channels|fcn|cnn|st_fcn|2xst_fcn`: on a map of 14 x 14, a VTN with a field
  for each channel or with one field, no warp, one affine warp for both channels or one for each; the last four are the
  paper's, which read 42 x 42 pixels;
- `warp=affine|projective|tps` of "st_fcn" and "2xst_fcn";
- `label=pair|sum`: "pair" names both digits and is quick, Adam for 1,500 steps of 128; "sum", the paper's, is slow to
  learn and trained by its schedule, SGD for 150,000 steps of 256, rate 0.01, divided by 10 every 50,000;
- `split=test|validation`: which digits are tested on; the validation digits are for tuning;
- `frozen` leaves the transformer as it starts; a VTN then has E = 0 and follows the responses alone;
- `short` is the sum for two cores: Adam for 3,000 steps of 128, the localisers of "affine", "st_fcn" and "2xst_fcn" at
  a tenth of its rate;
- `smoke`: the same on little data, in less than two minutes on two CPU cores.
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose

# Pixels run from 0 to 1: at the paper's temperature of 10 every candidate would be as probable as any other. Tried on
# the validation split for 500 steps: temperature 0.25, 1 and 3, wider layers, a third of the rate.
VTN = {"window": (7, 7), "temperature": 1.0, "widths": (8, 16, 16, 16)}
PICTURES = {"fcn": "gallery", "cnn": "gallery", "none": "gallery", "st_fcn": "before_after"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("vtn_two", "vtn_one", "none", "affine", "affine_channels", "fcn", "cnn", "st_fcn", "2xst_fcn"),
        warp=("affine", "projective", "tps"),
        label=("pair", "sum"),
        split=("test", "validation"),
        frozen=False,
        short=False,
        smoke=False,
    )
    model, is_sum = chosen["model"], chosen["label"] == "sum"
    config = presets.run(
        network={
            "name": "two_digits",
            "model": model,
            "warp": chosen["warp"],
            "warp_options": VTN if model.startswith("vtn") else {},
            "pool": 2,
        },
        input={"name": "images", "distortion": "RTS2"},
        picture={"name": PICTURES.get(model, "fields")},
        dataset="two_digits",
        test_split=chosen["split"],
        source_options={"label": chosen["label"]},
        steps=3000 if is_sum else 1500,
        batch_size=128,
        localiser_multiplier=0.0 if chosen["frozen"] else 1.0,
        **presets.adam(3e-3),
        **presets.every(100, 500),
    )
    if is_sum and chosen["short"]:
        # At the full rate these stayed at chance.
        config.localiser_multiplier *= 0.1 if model in ("affine", "st_fcn", "2xst_fcn") else 1.0
    elif is_sum:
        config.steps, config.batch_size = 150_000, 256
        config.update(presets.sgd(0.01) | presets.every(1000, 10_000))
    if chosen["smoke"]:
        config.source_options.drawn = True
        presets.make_short(config, steps=20, log=5, test=10, batch_size=64)
    return config
