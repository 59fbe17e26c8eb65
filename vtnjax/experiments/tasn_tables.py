"""The tables of the TASN paper, Tables 2 to 10, without the rows of other papers' methods; Table 1 describes the data.

All need `--config.data_dir=`, and for the paper's start from ImageNet `--config.pretrained=` and
`--config.attention_pretrained=`. In Tables 6, 8 and 9 the predictions of several networks are averaged, which the paper
trains "with different parameter settings". Here they differ in their seeds.
"""

from collections.abc import Callable, Mapping

from vtnjax.experiments.cells import Cell, Table, error

# Kinds of attention maps of features X by their names in the paper's Table 2, where N is a softmax.
ATTENTIONS = {
    "features, X": "features",
    "XX'X": "plain",
    "N(X)X'X": "spatial",
    "N(X)N(X)'X": "spatial_both",
    "N(XX'X)": "output",
    "N(XX')X": "relation",
    "N(N(X)X')X": "both",
    "self-attention": "self",
}
# The "high-resolution setting" of Table 6: the smaller of the two sizes that have its figure in Table 4.
HIGH = "resolution=336"
_AVERAGED = ("Where a row has several networks, their predictions are averaged, as by `train.py --eval_only --also`.",)
_PLAIN, _MASTER = "sampler=none", "branch=master"


def tasn_table2() -> Table:
    """TASN Table 2: kinds of attention maps, the part-net's error on birds."""
    accuracies = (83.5, 84.9, 85.2, 84.3, 84.5, 85.0, 85.3, None)
    rows = {
        name: {"part-net": Cell(f"attention={attention},predict=part", error(accuracy))}
        for (name, attention), accuracy in zip(ATTENTIONS.items(), accuracies, strict=True)
    }
    notes = ("By the paper's text self-attention is 0.7 points worse than the trilinear module.",)
    return Table("TASN Table 2, CUB-200-2011, ResNet-50 at 224", "cub_tasn", rows, notes)


def tasn_table3() -> Table:
    """TASN Table 3: samplers, for the master-net alone and for both nets, on birds."""
    paper = {
        "ResNet-50": ("none", 81.6, 81.6),
        "uniform": ("uniform", 84.1, 85.8),
        "SSN": ("ssn", 84.8, 85.3),
        "inverse CDF": ("inverse_cdf", 85.5, 87.0),
    }
    rows = {}
    for name, (sampler, master, both) in paper.items():
        alone = _PLAIN if sampler == "none" else f"sampler={sampler},{_MASTER}"
        rows[name] = {"master-net": Cell(alone, error(master)), "TASN": Cell(f"sampler={sampler}", error(both))}
    return Table("TASN Table 3, CUB-200-2011, ResNet-50 at 224", "cub_tasn", rows)


def tasn_table4() -> Table:
    """TASN Table 4: the resolution of the sampled image, and the choice of parts that the text has, on birds."""
    paper = {
        "ResNet-50": (_PLAIN, (81.6, 83.3, 85.0, 85.6)),
        "master-net": (_MASTER, (85.5, 86.6, 87.0, 86.8)),
        "TASN": ("branch=tasn", (87.0, 87.3, 87.9, 87.9)),
        "TASN, ranked parts": ("selection=ranked", (86.8,)),
        "TASN, two parts a step": ("parts=2", (87.0,)),
    }
    rows = {}
    for name, (variant, accuracies) in paper.items():
        pairs = zip((224, 280, 336, 392), accuracies, strict=False)
        rows[name] = {f"{size} px": Cell(f"{variant},resolution={size}", error(each)) for size, each in pairs}
    return Table("TASN Table 4 and the text beside it, CUB-200-2011, ResNet-50", "cub_tasn", rows)


def tasn_table5() -> Table:
    """TASN Table 5: sampling against high resolution, on birds."""
    rows = {
        "ResNet-50": {
            "224 px": Cell(f"{_PLAIN},resolution=224", 18.4),
            "448 px": Cell(f"{_PLAIN},resolution=448", 14.4),
        },
        "TASN": {"224 px": Cell("resolution=224", 13.0)},
    }
    notes = (
        "The paper copies DT-RAM (17.2 at 224 px) and SSN (15.5 at 227 px). `tasn_table3` has SSN's sampler in a TASN.",
    )
    return Table("TASN Table 5, CUB-200-2011", "cub_tasn", rows, notes)


def tasn_table6() -> Table:
    """TASN Table 6: birds at a high resolution; its other rows are of methods that look at parts."""
    rows = _networks(HIGH, vgg=86.1, three=87.1, resnet=87.9)
    return Table("TASN Table 6, CUB-200-2011", "cub_tasn", rows, _AVERAGED)


def tasn_table7() -> Table:
    """TASN Table 7: covariances as features, alone and in a TASN, on birds.

    The rows are of two configs, so `--rows` chooses those whose config has what is overridden.
    """
    variants = {
        "iSQRT-COV, 32k": ("cub_vtn:warp=none,head=isqrt", 88.1),
        "TASN, 2k": (HIGH, 87.9),
        "TASN + iSQRT-COV, 32k": (f"{HIGH},head=isqrt", 89.1),
    }
    notes = (
        "The paper copies iSQRT-COV with 8k features (12.7), which `--config.network.head.reduced=128` makes of the "
        "first row.",
        "The paper averages over mirror images. So do the rows with iSQRT-COV; TASN, 2k, as the other tables have it, "
        "does not, but `train.py --eval_only --flip` does.",
    )
    return Table("TASN Table 7, CUB-200-2011, ResNet-50", "cub_tasn", _column(variants), notes)


def tasn_table8() -> Table:
    """TASN Table 8: what the parts of TASN give on cars."""
    variants = {"VGG-19": (_PLAIN, 88.6), "master-net": (_MASTER, 90.3), "TASN": ("branch=tasn", 92.4)}
    rows = _column(variants, f"backbone=vgg19,dataset=cars,{HIGH}")
    for members, accuracy in ((2, 93.1), (3, 93.2)):
        rows[f"{members} x TASN"] = {"error": rows["TASN"]["error"]._replace(paper=error(accuracy), members=members)}
    return Table("TASN Table 8, Stanford Cars, VGG-19", "cub_tasn", rows, _AVERAGED)


def tasn_table9() -> Table:
    """TASN Table 9: cars at a high resolution; its other rows are of methods that look at parts."""
    rows = _networks(f"dataset=cars,{HIGH}", vgg=92.4, three=93.2, resnet=93.8)
    return Table("TASN Table 9, Stanford Cars", "cub_tasn", rows, _AVERAGED)


def tasn_table10() -> Table:
    """TASN Table 10: iNaturalist 2017 by super-class, with the total of each network over images and super-classes."""
    networks = {"ResNet-101": _PLAIN, "SSN": f"sampler=ssn,{_MASTER}", "TASN": "branch=tasn"}
    paper = {
        "Plantae": (60.3, 63.9, 66.6),
        "Insecta": (69.1, 74.7, 77.6),
        "Aves": (59.1, 68.2, 72.0),
        "Reptilia": (37.4, 43.9, 46.4),
        "Mammalia": (50.2, 55.3, 57.7),
        "Fungi": (62.5, 64.2, 70.3),
        "Amphibia": (41.8, 50.2, 51.6),
        "Mollusca": (56.9, 61.5, 64.7),
        "Animalia": (64.8, 67.8, 71.0),
        "Arachnida": (64.8, 73.8, 75.1),
        "Actinopterygii": (57.0, 60.3, 65.5),
        "Chromista": (57.6, 57.6, 62.5),
        "Protozoa": (78.1, 79.5, 79.5),
        "micro": (59.6, 65.2, 68.2),
        "macro": (58.4, 63.1, 66.2),
    }
    rows = {}
    for name, accuracies in paper.items():
        figure, pairs = {"micro": "accuracy"}.get(name, name), zip(networks.items(), accuracies, strict=True)
        rows[name] = {
            network: Cell(f"backbone=resnet101,dataset=inat2017,{variant}", error(accuracy), figure)
            for (network, variant), accuracy in pairs
        }
    notes = (
        "TASN's totals are over images (micro). Those of VTN's Table 4, for the same rows, are the mean of the "
        "super-classes (macro).",
        "The paper ran SSN's own code. Here SSN's sampler stands in a TASN's master-net.",
    )
    return Table("TASN Table 10, iNaturalist 2017, ResNet-101 at 224", "cub_tasn", rows, notes)


def _networks(variant: str, *, vgg: float, three: float, resnet: float) -> dict[str, dict[str, Cell]]:
    """TASN's own rows of Tables 6 and 9, with the paper's accuracies."""
    of_vgg = Cell(f"backbone=vgg19,{variant}", error(vgg))
    return {
        "1 x VGG-19": {"error": of_vgg},
        "3 x VGG-19": {"error": of_vgg._replace(paper=error(three), members=3)},
        "1 x ResNet-50": {"error": Cell(f"backbone=resnet50,{variant}", error(resnet))},
    }


def _column(variants: Mapping[str, tuple[str, float]], more: str = "") -> dict[str, dict[str, Cell]]:
    """Rows of one column, with the paper's accuracies; `more` is added to every variant."""
    return {
        name: {"error": Cell(",".join(filter(None, (variant, more))), error(accuracy))}
        for name, (variant, accuracy) in variants.items()
    }


TABLES: dict[str, Callable[[], Table]] = {
    "tasn_table2": tasn_table2,
    "tasn_table3": tasn_table3,
    "tasn_table4": tasn_table4,
    "tasn_table5": tasn_table5,
    "tasn_table6": tasn_table6,
    "tasn_table7": tasn_table7,
    "tasn_table8": tasn_table8,
    "tasn_table9": tasn_table9,
    "tasn_table10": tasn_table10,
}
