"""The tables: which config and variants make each, and the papers' figures to compare with."""

from vtnjax.experiments import retrieval_tables, tasn_tables, vtn_tables
from vtnjax.experiments.cells import Cell, Table

# Warps of a map of 14 x 14, and which model of configs/two_digits.py each is.
_MAP_WARPS = {
    "nothing": "none",
    "one affine warp": "affine",
    "an affine warp a channel": "affine_channels",
    "VTN, one field": "vtn_one",
    "VTN, a field a channel": "vtn_two",
}


def distorted_digits() -> Table:
    """STN Table 1, the figures for translated and cluttered digits in section 4.1, and the learned basis of 3.2."""
    paper = {
        "FCN": (2.1, 5.2, 3.1, 3.2, 13.2),
        "CNN": (1.2, 0.8, 1.5, 1.4, 3.5),
        "ST-FCN affine": (1.2, 0.8, 1.5, 2.7, 2.0),
        "ST-FCN projective": (1.3, 0.9, 1.4, 2.6),
        "ST-FCN TPS": (1.1, 0.8, 1.4, 2.4),
        "ST-CNN affine": (0.7, 0.5, 0.8, 1.2, 1.7),
        "ST-CNN projective": (0.8, 0.6, 0.8, 1.3),
        "ST-CNN TPS": (0.7, 0.5, 0.8, 1.1),
    }
    rows = {}
    for name, errors in paper.items():
        network, _, warp = name.lower().replace("-", "_").partition(" ")
        variant = f"model={network},warp={warp}" if warp else f"model={network}"
        columns = zip(("R", "RTS", "P", "E", "TC"), errors, strict=False)
        rows[name] = {column: Cell(f"{variant},distortion={column}", error) for column, error in columns}
    for name, network in (("ST-FCN linear", "st_fcn"), ("ST-CNN linear", "st_cnn")):  # the paper names it, no more
        rows[name] = {column: Cell(f"model={network},warp=linear,distortion={column}", None) for column in ("RTS", "E")}
    return Table("STN Table 1 and section 4.1, on the digits of the config", "distorted_digits", rows)


def addition() -> Table:
    """STN A.1, Table 4: the sum of two digits, each moved on its own in a channel of its own; VTN's claim beside it."""
    warps = ("affine", "projective", "tps")
    networks = {"ST-FCN": ("st_fcn", (22.6, 18.5, 19.1)), "2xST-FCN": ("2xst_fcn", (9.0, 5.9, 5.8))}
    rows = {name: {"RTS": Cell(f"model={name.lower()},label=sum", e)} for name, e in (("FCN", 47.7), ("CNN", 14.7))}
    for name, (model, errors) in networks.items():
        for warp, error in zip(warps, errors, strict=True):
            rows[f"{name} {warp}"] = {"RTS": Cell(f"model={model},warp={warp},label=sum", error)}
    ours = _MAP_WARPS.items()
    rows |= {f"14 x 14: {name}": {"RTS": Cell(f"model={model},label=sum", None)} for name, model in ours}
    rows["14 x 14: the same, E = 0"] = {"RTS": Cell("model=vtn_two,label=sum,frozen", None)}
    return Table("STN Table 4, pairs of the packaged digits", "two_digits", rows)


def volumes() -> Table:
    """STN A.3: digits turned in volumes, with and without a 3-D transformer. The paper gives no figures."""
    models = {"FCN": "fcn", "ST-FCN": "st_fcn", "CNN": "cnn", "ST-CNN": "st_cnn"}
    rows = {name: {"volumes": Cell(f"model={model}", None)} for name, model in models.items()}
    return Table("STN A.3, on the digits of the config", "volume_digits", rows)


def feature_maps() -> Table:
    """Table 1 of the study of STNs on feature maps: rotated digits, and translated and cluttered ones."""
    paper = {
        "CNN": ("cnn", 1.71, 1.72),
        "STN-C0": ("stn_c0", 1.08, 1.08),
        "STN-C1": ("stn_c1", 1.32, 1.15),
        "STN-SL1": ("stn_sl1", 0.98, 1.10),
        "a deep localiser": ("stn_deep1", None, None),
    }
    rows = {
        name: {
            "rotation": Cell(f"network={network},distortion=R", turned),
            "translation": Cell(f"network={network},distortion=TC", moved),
        }
        for name, (network, turned, moved) in paper.items()
    }
    return Table("Finnveden et al. 2020, Table 1, on the digits of the config", "feature_maps", rows)


def house_numbers() -> Table:
    """STN Table 2, sequence error on SVHN, two seeds in the paper."""
    paper = {"CNN": ("cnn", 4.0, 5.6), "ST-CNN Single": ("single", 3.7, 3.9), "ST-CNN Multi": ("multi", 3.6, 3.9)}
    rows = {
        name: {"64 px": Cell(f"model={model},size=64", small), "128 px": Cell(f"model={model},size=128", large)}
        for name, (model, small, large) in paper.items()
    }
    return Table("STN Table 2, SVHN", "svhn_stn", rows)


def birds() -> Table:
    """STN Table 3, CUB-200-2011; the paper's accuracies are 82.3, 83.1, 83.9 and 84.1.

    It needs `--config.data_dir=` and, for the paper's start from ImageNet, `--config.pretrained=`.
    """
    rows = {
        "CNN": {"224 px": Cell("transformers=0,resolution=224", 17.7)},
        "2xST-CNN": {
            "224 px": Cell("transformers=2,resolution=224", 16.9),
            "448 px": Cell("transformers=2,resolution=448", 16.1),
        },
        "4xST-CNN": {"448 px": Cell("transformers=4,resolution=448", 15.9)},
    }
    return Table("STN Table 3, CUB-200-2011", "cub_stn", rows)


def house_number_depths() -> Table:
    """Table 2 of the study of STNs on feature maps: SVHN, by the depth X of the transformer."""
    paper = {0: (3.81, 3.81), 3: (3.70, 3.54), 6: (3.91, 3.29), 8: (4.00, 3.27)}
    rows = {
        f"X = {depth}": {
            "STN-CX": Cell(f"model=c{depth}", features),
            "STN-SLX": Cell(f"model=sl{depth}" if depth else "model=c0", shared),
        }
        for depth, (features, shared) in paper.items()
    }
    return Table("Finnveden et al. 2020, Table 2, SVHN", "svhn_stn", rows)


def _errors(variants):
    """Rows of one column, without a paper's figures."""
    return {name: {"error": Cell(variant, None)} for name, variant in variants.items()}


def default_job() -> Table:
    """The default job, RTS digits, with a transformer and without.

    The picture of the first run, `figures/test.png` in its workdir, is results/digits_stn.png.
    """
    rows = _errors({"ST-FCN": "model=st_fcn", "FCN": "model=fcn"})
    return Table("The packaged digits, turned, moved and scaled", "digits_stn", rows)


def two_digits() -> Table:
    """Naming two digits that move independently: a field or an affine warp a channel, and the networks of STN A.1."""
    variants = {name: f"model={model}" for name, model in _MAP_WARPS.items()}
    variants["VTN, a field a channel, E = 0"] = "model=vtn_two,frozen"
    for name in ("FCN", "CNN", "ST-FCN", "2xST-FCN"):
        variants[f"{name} (42 x 42)"] = f"model={name.lower().replace('-', '_')}"
    return Table("Pairs of the packaged digits, both to be named", "two_digits", _errors(variants))


def composites() -> Table:
    """Parts that move independently in one picture: every warp of features, VTN's ablations and consistency loss.

    It needs Fashion-MNIST's files, `--config.data_dir=FOLDER`.
    """
    variants = {
        "nothing": "warp=none",
        "STN": "warp=stn",
        "an affine warp a group": "warp=affine_groups",
        "SSN": "warp=ssn",
        "deformable convolution": "warp=deformable",
        "VTN": "warp=vtn",
        "VTN, one group": "warp=vtn_one",
        "VTN, E = 0": "warp=vtn,frozen",
        "VTN, temperature 10": "warp=vtn,temperature=10",
        "VTN without mixing": "warp=vtn,ablation=mixing",
        "VTN without grouping": "warp=vtn,ablation=grouping",
        "VTN without probabilities": "warp=vtn,ablation=probability",
        "nothing, balanced batches": "warp=none,batches=balanced",
        "VTN, balanced batches": "warp=vtn,batches=balanced",
        "nothing, consistency of unit features": "warp=none,consistency=unit",
        "VTN, consistency of unit features": "warp=vtn,consistency=unit",
        "VTN, the same, triplets of their own": "warp=vtn,consistency=unit,triplets=own",
        "VTN, consistency averaged": "warp=vtn,consistency=mean",
        "VTN, consistency as Eq. 4": "warp=vtn,consistency=eq4",
    }
    return Table("A garment and two digits among clutter", "composites", _errors(variants))


def hidden_digits() -> Table:
    """A digit hidden in a large cluttered image: sampling by attention, in the order of TASN's Table 3."""
    variants = {
        "plain, low resolution": "method=low",
        "plain, high resolution": "method=high",
        "uniform": "method=uniform",
        "SSN": "method=ssn",
        "TASN, the master-net alone": "method=master",
        "TASN": "method=tasn",
    }
    return Table("A digit in 128 x 128 pixels of clutter", "hidden_digits", _errors(variants))


_HEADS = {"BP": "bp", "CBP": "cbp", "KP": "kp", "MPN-COV": "mpncov", "iSQRT-COV": "isqrt"}


def scenes_frozen() -> Table:
    """Warps and heads on the features of a frozen SqueezeNet, of birds in other photographs.

    It needs what `python -m vtnjax.experiments.store_features scenes` wrote, `--config.data_dir=FOLDER`.
    """
    variants = {
        "nothing": "warp=none",
        "STN": "warp=stn",
        "SSN": "warp=ssn",
        "ASN": "warp=asn",
        "ASN, attention not squared": "warp=asn,attention=plain",
        "VTN": "warp=vtn",
        **{f"VTN without {part}": f"ablation={part}" for part in ("mixing", "grouping", "probability", "consistency")},
        **{name: f"warp=none,head={head}" for name, head in _HEADS.items()},
        **{f"{name} + VTN": f"warp=vtn,head={head}" for name, head in _HEADS.items()},
        "BP + SSN": "warp=ssn,head=bp",
    }
    rows = _errors({name: f"frozen,{variant}" for name, variant in variants.items()})
    return Table("Features of a frozen SqueezeNet, birds in other photographs", "scenes", rows)


def scenes() -> Table:
    """Whole networks on birds in other photographs: what they take them for, and where they see them.

    It needs the stamps of Tux Paint, `--config.data_dir=FOLDER`, and the extras `scenes` and `squeezenet`.
    """
    variants = {
        "nothing": "warp=none",
        "STN": "warp=stn",
        "SSN": "warp=ssn",
        "ASN": "warp=asn",
        "deformable convolution": "warp=deformable",
        "VTN": "warp=vtn",
        "iSQRT-COV": "warp=none,head=isqrt",
        "iSQRT-COV + VTN": "warp=vtn,head=isqrt",
        "DCL": "warp=none,dcl",
        "DCL + VTN": "warp=vtn,dcl",
    }
    variants = {name: f"{variant},localise" for name, variant in variants.items()}
    for name in ("iSQRT-COV", "iSQRT-COV + VTN"):
        variants[f"{name}, heat by HiResCAM"] = f"{variants[name]},heat=hires_cam"
    rows = {name: vtn_tables.localised(variant) for name, variant in variants.items()}
    for row in rows.values():
        row["heat outside"] = row["class"]._replace(figure="inside")
    rows["TASN"] = {"class": Cell("warp=tasn", None)}
    notes = (
        "top-1 to class: as in VTN Table 5; heat outside: the share of the heat that is not on the object, whose "
        "outline is known.",
        "HiResCAM weights a channel at each position by its gradient there, and Grad-CAM by the mean of these, which "
        "have both signs before a covariance. Of mean pooling the two are the same map.",
    )
    return Table("SqueezeNet, birds in other photographs", "scenes", rows, notes)


def solar() -> Table:
    """Cracks in photographs of solar cells: sampling by attention, 300 x 300 to 150 x 150."""
    variants = {
        "plain, low resolution": "method=low",
        "plain, high resolution": "method=high",
        "SSN": "method=ssn",
        "TASN, the master-net alone": "method=master",
        "TASN": "method=tasn",
    }
    return Table("Solar cells, sound or defective", "solar", _errors(variants))


def attentions() -> Table:
    """Kinds of attention maps, the rows of TASN's Table 2: the part-net on hidden digits."""
    variants = {name: f"attention={attention},predict=part" for name, attention in tasn_tables.ATTENTIONS.items()}
    return Table("A digit in 128 x 128 pixels of clutter, the part-net", "hidden_digits", _errors(variants))


TABLES = {
    "stn_table1": distorted_digits,
    "stn_table2": house_numbers,
    "stn_table3": birds,
    "stn_addition": addition,
    "stn_volumes": volumes,
    "feature_maps": feature_maps,
    "feature_maps_svhn": house_number_depths,
    "digits_stn": default_job,
    "two_digits": two_digits,
    "composites": composites,
    "hidden_digits": hidden_digits,
    "attentions": attentions,
    "scenes_frozen": scenes_frozen,
    "scenes": scenes,
    "solar": solar,
    **vtn_tables.TABLES,
    **tasn_tables.TABLES,
    **retrieval_tables.TABLES,
}
