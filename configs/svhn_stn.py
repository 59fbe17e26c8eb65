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
from vtnjax.recipes import presets
from vtnjax.train.config import choose

PICTURES = {"cnn": "gallery", "single": "before_after", "c0": "before_after"}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        model=("multi", *(name for name in HOUSE_NUMBER_MODELS if name != "multi")),
        size=("64", "128"),
        split=("test", "validation"),
        smoke=False,
    )
    model = chosen["model"]
    config = presets.run(
        network={
            "name": "house_numbers",
            "model": model,
            "widths": (48, 64, 128, 160, 192, 192, 192, 192),
            "units": 3072,
            "dropout": 0.5,
        },
        picture={"name": PICTURES.get(model, "before_after" if model.startswith("sl") else "fields")},
        dataset="svhn",
        test_split=chosen["split"],
        source_options={"size": int(chosen["size"]), "extra": True, "on_error": "raise"},
        data_threads=8,
        steps=400_000,
        batch_size=128,
        localiser_multiplier=1.0 if model == "cnn" else 0.1,
        **presets.sgd(0.01, boundaries=(0.2, 0.4, 0.6, 0.8)) | {"weight_decay": 5e-4},
        **presets.every(500, 20_000, save=10_000),
    )
    if chosen["smoke"]:
        config.dataset, config.data_threads = "drawn:svhn", 1
        config.network.widths, config.network.units = (8,) * 8, 32
        presets.make_short(config, steps=6, log=2, test=3, batch_size=16)
    return config
