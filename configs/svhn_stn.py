"""House numbers of one to five digits: STN section 4.2, and Table 2 of the study of STNs on feature maps.

    python train.py --config configs/svhn_stn.py:model=multi --config.data_dir=SVHN

`data_dir` holds `train/`, `extra/` and `test/` as the archives of Format 1 unpack; `digitStruct.mat` needs h5py (extra
`svhn`). Variants, joined by commas, the first value of each being the default:

- `model=multi|cnn|single|c0|c3|c6|c8|sl3|sl6|sl8`: "multi" has a transformer before each of the first four
  convolutions, "cnn" none, "single" one at the input; "c0", "c3", "c6", "c8" warp the features behind that layer;
  "sl3", "sl6", "sl8" warp the input by those features;
- `size=64|128` of the crop, in pixels;
- `split=test|validation`: the validation set is 5,000 training images, which are then in no training set (A.5);
- `smoke`: the same on a few drawn numbers.

Accuracy is that of whole numbers. The recipe is the paper's: SGD for 400,000 steps of 128, rate 0.01, divided by 10
every 80,000, weight decay 5e-4, half of the units dropped, localisers at a tenth of the rate. Nothing was measured with
it: SVHN could not be had where this was written.
"""

from ml_collections import ConfigDict

from vtnjax.models.house_numbers import HOUSE_NUMBER_MODELS
from vtnjax.train.config import choose


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("multi", *(name for name in HOUSE_NUMBER_MODELS if name != "multi")),
        size=("64", "128"),
        split=("test", "validation"),
        smoke=False,
    )
    config = ConfigDict()
    config.model = chosen["model"]
    config.house_numbers = ConfigDict({"widths": (48, 64, 128, 160, 192, 192, 192, 192), "units": 3072, "dropout": 0.5})

    config.dataset = "svhn"
    config.test_split = chosen["split"]
    config.data_dir = ""
    config.source_options = ConfigDict({"size": int(chosen["size"]), "extra": True, "on_error": "raise"})
    config.data_threads = 8

    config.steps = 400_000
    config.batch_size = 128
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "sgd"
    config.momentum = 0.0
    config.learning_rate = 0.01
    config.schedule = "step"
    config.warmup_steps = 0
    config.boundaries = (0.2, 0.4, 0.6, 0.8)
    config.decay_factor = 0.1
    config.weight_decay = 5e-4
    config.clip_norm = 0.0
    config.localiser_multiplier = 1.0 if config.model == "cnn" else 0.1

    config.log_every = 500
    config.eval_every = 20_000
    config.checkpoint_every = 10_000
    config.tensorboard = False

    if chosen["smoke"]:
        config.dataset = "drawn:svhn"
        config.house_numbers.widths, config.house_numbers.units = (8,) * 8, 32
        config.data_threads = 1
        config.batch_size = 16
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 6, 2, 3, 3
    return config
