"""Tables of instance-level retrieval, whose figures are mean average precisions: VTN's Table 6, and that of scenes."""

from collections.abc import Callable, Sequence

from vtnjax.experiments.cells import Cell, Table
from vtnjax.models.delf import STAGES

# Of networks that were not fine-tuned: the pooling of each row.
POOLS = {"MAC": "mac", "SPoC": "spoc", "CroW": "crow", "GeM": "gem", "R-MAC": "rmac"}
# Of fine-tuned ones. Gordo (2017), whose R-MAC it is, has the triplet loss, and Radenovic (2018) the contrastive one.
_TUNED = {"GeM": "pool=gem", "R-MAC": "pool=rmac,loss=triplet"}
_COLUMNS = {
    "ROxford M": ("roxford5k", "map_medium"),
    "RParis M": ("rparis6k", "map_medium"),
    "ROxford H": ("roxford5k", "map_hard"),
    "RParis H": ("rparis6k", "map_hard"),
}


def vtn_table6() -> Table:
    """VTN Table 6: mean average precision on the revisited Oxford and Paris benchmarks, with a ResNet-50.

    It needs `--config.evaluation.data_dir=`, the folder of one benchmark, the weights of ImageNet,
    `--config.pretrained=`, and for what is fine-tuned `--config.data_dir=`: the folder of retrieval-SfM-120k, or for
    DELF, whose two stages are two runs, one of landmarks by their classes. The columns of the other benchmark are runs
    of their own.
    """
    pretrained = {
        "MAC": (41.7, 66.2, 18.0, 44.1),
        "SPoC": (39.8, 69.2, 12.4, 44.7),
        "CroW": (42.4, 70.4, 13.3, 47.2),
        "GeM": (45.0, 70.7, 17.7, 48.7),
        "R-MAC": (49.8, 74.0, 18.5, 52.1),
    }
    rows = {name: _benchmarks(f"off,pool={POOLS[name]}", maps) for name, maps in pretrained.items()}
    tuned = {
        "fine-tuned GeM": (_TUNED["GeM"], (64.7, 77.2, 38.5, 56.3)),
        "fine-tuned R-MAC": (_TUNED["R-MAC"], (60.9, 78.9, 32.4, 59.4)),
        "R-MAC + STN": (f"{_TUNED['R-MAC']},warp=stn", (61.3, 79.4, 36.1, 59.8)),
        "GeM + VTN": (f"{_TUNED['GeM']},warp=vtn", (67.4, 80.5, 45.5, 57.1)),
        "R-MAC + VTN": (f"{_TUNED['R-MAC']},warp=vtn", (65.6, 82.7, 43.3, 60.9)),
    }
    rows |= {name: _benchmarks(variant, maps) for name, (variant, maps) in tuned.items()}
    rows |= {
        "DELF": _benchmarks("", (67.8, 76.9, 43.1, 55.4), local=True),
        "DELF + VTN": _benchmarks(",warp=vtn", (69.7, 78.1, 45.1, 56.4), local=True),
    }
    notes = (
        "M and H are the protocols Medium and Hard. DELF is with ASMK* and spatial verification.",
        "The paper says ResNet-50, but its row of fine-tuned GeM is the published one of a ResNet-101. With a "
        "ResNet-50 and whitening its authors have 64.7, 76.3, 39.0 and 54.9. Its weights of ImageNet are Caffe's, so "
        "rows without fine-tuning differ with other weights.",
        "The paper's rows join three sizes of an image. Here tests read one, unless "
        '`--config.evaluation.scales="(1.0, 0.7071, 0.5)"` is given, and nothing is whitened.',
    )
    return Table("VTN Table 6, the revisited Oxford and Paris benchmarks", "retrieval", rows, notes, shown="mAP")


def scenes_retrieval() -> Table:
    """Stamps in other scenes, searched for with SqueezeNet: half of the stamps are learned from, the others searched.

    It needs the stamps of Tux Paint, as `--config.data_dir=` and as `--config.evaluation.data_dir=`, and the extras
    `scenes` and `squeezenet`.
    """
    variants = {name: f"off,pool={pool}" for name, pool in POOLS.items()}
    for name, tuned in {"GeM": "pool=gem", "R-MAC": "pool=rmac"}.items():
        variants |= {f"fine-tuned {name}": tuned}
        variants |= {f"{name} + {warp.upper()}": f"{tuned},warp={warp}" for warp in ("stn", "vtn")}
    columns = {column: f"map_{column.lower()}" for column in ("Easy", "Medium", "Hard")}
    rows = {
        name: {column: Cell(f"dataset=scenes,{variant}", None, figure) for column, figure in columns.items()}
        for name, variant in variants.items()
    }
    for name, warp in (("DELF", ""), ("DELF + VTN", ",warp=vtn")):
        first, second = (f"delf:stage={stage},trunk=squeezenet,dataset=scenes,search=scenes{warp}" for stage in STAGES)
        for verified, prefix in ((", ASMK* alone", "asmk_"), ("", "")):
            figures = {column: f"{prefix}{figure}" for column, figure in columns.items()}
            rows[f"{name}, by length{verified}"] = {each: Cell(first, None, figures[each]) for each in columns}
            rows[f"{name}{verified}"] = {each: Cell(second, None, figures[each], begins=first) for each in columns}
    notes = (
        "DELF is with ASMK*, and with spatial verification but where ASMK* is alone. By length: of the features of its "
        "first stage the longest are kept, before there is attention.",
        "R-MAC is fine-tuned with the contrastive loss, as GeM is.",
        "Rows of no steps are the network with the weights of ImageNet, which no seed changes.",
    )
    return Table("Stamps in scenes, SqueezeNet", "retrieval", rows, notes, shown="mAP")


def _benchmarks(variant: str, maps: Sequence[float], *, local: bool = False) -> dict[str, Cell]:
    """A row of a variant on both benchmarks: of descriptors of whole images, or of DELF's second stage."""
    row = {}
    for (column, (benchmark, figure)), paper in zip(_COLUMNS.items(), maps, strict=True):
        if local:
            first, second = (f"delf:stage={stage},search={benchmark}{variant}" for stage in STAGES)
            row[column] = Cell(second, paper, figure, begins=first)
        else:
            row[column] = Cell(f"trunk=resnet50,{variant},benchmark={benchmark}", paper, figure)
    return row


TABLES: dict[str, Callable[[], Table]] = {"vtn_table6": vtn_table6, "scenes_retrieval": scenes_retrieval}
