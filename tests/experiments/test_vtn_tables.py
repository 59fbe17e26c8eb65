"""VTN's tables: the paper's accuracies, the configs of the cells, and what is said beside them."""

import pytest

from vtnjax.experiments import TABLES, Runner

SETS = ("CUB", "Cars", "Aircraft")
# The paper's accuracies on CUB, Cars and Aircraft.
TABLE_1 = {
    "nothing": ((71.4, 68.7, 80.7), (74.6, 70.4, 82.1)),
    "deformable convolution": ((74.2, 70.1, 82.6), (76.7, 72.1, 83.7)),
    "STN": ((72.1, 69.2, 81.1), (76.5, 71.0, 81.2)),
    "SSN": ((75.1, 72.7, 84.6), (77.7, 74.8, 83.1)),
    "ASN": ((76.2, 74.1, 82.4), (78.9, 75.2, 85.7)),
    "VTN without mixing": ((77.8, 78.6, 86.1), (80.1, 81.4, 86.9)),
    "VTN without grouping": ((76.3, 76.1, 84.4), (77.2, 79.1, 82.4)),
    "VTN without probabilities": ((78.1, 79.7, 84.9), (79.0, 80.4, 85.1)),
    "VTN without consistency": ((79.2, 80.2, 87.1), (82.4, 82.1, 84.9)),
    "VTN": ((80.4, 81.9, 87.4), (83.1, 82.7, 89.2)),
}
TABLE_2 = {
    "mean pooling": (74.6, 70.4, 82.1),
    "BP": (80.2, 81.5, 84.8),
    "CBP": (81.6, 81.6, 88.6),
    "KP": (83.2, 82.9, 89.9),
    "MPN-COV": (84.2, 83.1, 89.7),
    "iSQRT-COV": (88.1, 90.0, 92.8),
    "mean pooling + VTN": (83.1, 82.7, 89.2),
    "BP + VTN": (84.9, 84.1, 90.6),
    "CBP + VTN": (85.2, 84.2, 91.2),
    "KP + VTN": (85.1, 83.2, 91.7),
    "MPN-COV + VTN": (86.7, 88.1, 90.6),
    "iSQRT-COV + VTN": (89.6, 93.3, 93.4),
}
TABLE_3 = {
    "DCL": (87.8, 94.5, 93.0),
    "DCL + VTN": (89.2, 95.1, 93.4),
    "iSQRT-COV + VTN": (89.6, 93.3, 93.4),
    "TASN": (87.9, 93.8, None),
    "iSQRT-COV + TASN": (89.1, None, None),
    "iSQRT-COV + TASN + VTN": (91.2, 95.9, 94.5),
}
TABLE_4 = {
    "Plantae": 68.6,
    "Insecta": 79.1,
    "Aves": 72.9,
    "Reptilia": 48.1,
    "Mammalia": 60.6,
    "Fungi": 72.1,
    "Amphibia": 53.9,
    "Mollusca": 66.3,
    "Animalia": 73.2,
    "Arachnida": 78.2,
    "Actinopterygii": 68.4,
    "Chromista": 64.0,
    "Protozoa": 81.1,
    "micro": None,
    "macro": 68.2,
}


# The paper's errors, top-1 and top-5.
TABLE_5 = {"ResNet-50": (53.42, 43.12), "STN": (54.21, 43.33), "VTN": (52.18, 41.76)}


def accuracies(row):
    return tuple(None if cell.paper is None else round(100 - cell.paper, 1) for cell in row.values())


def configs(name):
    """The config of each cell, by row and column."""
    table = TABLES[name]()
    runner = Runner(name, table, (), None, None)
    return {row: {column: runner.load(cell.variant) for column, cell in of.items()} for row, of in table.rows.items()}


def test_table_1_has_the_papers_figures():
    rows = TABLES["vtn_table1"]().rows
    columns = [f"{network}, {name}" for network in ("VGG-19", "ResNet-50") for name in SETS]
    assert [list(row) for row in rows.values()] == [columns] * 10
    assert {name: accuracies(row) for name, row in rows.items()} == {name: a + b for name, (a, b) in TABLE_1.items()}


@pytest.mark.parametrize(("name", "paper"), [("vtn_table2", TABLE_2), ("vtn_table3", TABLE_3)])
def test_tables_2_and_3_have_the_papers_figures(name, paper):
    rows = TABLES[name]().rows
    assert {name: accuracies(row) for name, row in rows.items()} == paper
    assert [tuple(row) for row in rows.values()] == [SETS] * len(paper)


def test_table_4_has_the_papers_figures_beside_those_of_tasn():
    rows, copied = TABLES["vtn_table4"]().rows, TABLES["tasn_table10"]().rows
    assert {name: accuracies(row)[-1] for name, row in rows.items()} == TABLE_4
    assert {name: dict(list(row.items())[:-1]) for name, row in rows.items()} == copied
    assert {row["iSQRT-COV + VTN"].figure for row in rows.values()} == {*TABLE_4, "accuracy"} - {"micro"}


def test_table_5_has_the_papers_figures_and_localises_with_each_warp():
    rows, made = TABLES["vtn_table5"]().rows, configs("vtn_table5")
    assert {name: (row["top-1"].paper, row["top-5"].paper) for name, row in rows.items()} == TABLE_5
    figures = ["top1_localisation", "top5_localisation", "gt_known", "max_box_acc", "accuracy"]
    assert [[cell.figure for cell in row.values()] for row in rows.values()] == [figures] * 3
    assert [row["top-1"].network.warp.name for row in made.values()] == ["none", "stn", "vtn"]
    for config in (each for row in made.values() for each in row.values()):
        assert (config.evaluation.name, config.dataset, config.network.trunk.name) == (
            "localisation",
            "cub",
            "resnet50",
        )
        assert (config.input.whole, config.input.crop, config.eval_every) == (True, 448, config.steps)


@pytest.mark.slow
def test_scenes_are_localised_by_their_masks_too():
    rows, made = TABLES["scenes"]().rows, configs("scenes")
    # warp=tasn stands beside no localise: a TASN warps the image itself.
    assert list(rows.pop("TASN")) == list(made.pop("TASN")) == ["class"]
    assert {row["heat outside"].figure for row in rows.values()} == {"inside"}
    networks = [row["top-1"].network for row in made.values()]
    warps = ["none", "stn", "ssn", "asn", "deformable", "vtn"]
    assert [each.warp.name for each in networks] == [*warps, *["none", "vtn"] * 3]
    assert [each.name for each in networks] == [*["warped_features"] * 8, *["dcl"] * 2, *["warped_features"] * 2]
    assert {cell.evaluation.name for row in made.values() for cell in row.values()} == {"localisation"}
    by_positions = [name for name, row in made.items() if "method" in row["top-1"].evaluation]
    assert by_positions == ["iSQRT-COV, heat by HiResCAM", "iSQRT-COV + VTN, heat by HiResCAM"]


@pytest.mark.slow
def test_columns_are_sets_and_networks():
    for row in configs("vtn_table1").values():
        seen = [(config.network.trunk.name, config.dataset) for config in row.values()]
        assert seen == [(trunk, name) for trunk in ("vgg19", "resnet50") for name in ("cub", "cars", "aircraft")]
    for name in ("vtn_table2", "vtn_table3"):
        for row in configs(name).values():
            assert [config.dataset for config in row.values()] == ["cub", "cars", "aircraft"]
            assert {config.network.trunk.name for config in row.values()} == {"resnet50"}


@pytest.mark.slow
def test_rows_are_warps_and_heads():
    warps = [row["ResNet-50, CUB"] for row in configs("vtn_table1").values()]
    assert [each.network.warp.name for each in warps] == ["none", "deformable", "stn", "ssn", "asn"] + ["vtn"] * 5
    assert [each.objective.name for each in warps] == ["cross_entropy"] * 5 + ["consistency"] * 3 + [
        "cross_entropy",
        "consistency",
    ]
    heads = [row["CUB"].network for row in configs("vtn_table2").values()]
    assert [each.head.name for each in heads] == ["pooled", "bp", "cbp", "kp", "mpncov", "isqrt"] * 2
    assert [each.warp.name for each in heads] == ["none"] * 6 + ["vtn"] * 6
    dcl, with_vtn, vtn, tasn, isqrt, both = [row["CUB"].network for row in configs("vtn_table3").values()]
    assert (dcl.name, dcl.warp.name) == ("dcl", "none")
    assert (with_vtn.name, with_vtn.warp.name, with_vtn.warp.groups) == ("dcl", "vtn", 32)
    assert (vtn.name, vtn.warp.name, vtn.head.name) == ("warped_features", "vtn", "isqrt")
    assert (tasn.name, isqrt.name, both.name) == ("tasn", "tasn", "tasn")
    assert ("warp" in tasn, "head" in tasn, isqrt.head.name, "warp" in isqrt) == (False, False, "isqrt", False)
    assert (both.head.name, both.warp.name, both.parts) == ("isqrt", "vtn", 1)


def test_what_was_copied_wrongly_is_said():
    assert "7.2 on Cars and of 10.0 on Aircraft" in TABLES["vtn_table2"]().notes[0]
    assert "The figures of MA-CNN are of 6 and 5 networks, not of 3" in TABLES["vtn_table3"]().notes[0]
    assert "30.15" in TABLES["vtn_table4"]().notes[-1]
