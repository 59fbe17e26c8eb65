"""TASN's tables: the paper's accuracies, and the configs of the cells."""

import pytest

from vtnjax.experiments import TABLES, Runner

# The paper's accuracies by row, in the order of the columns.
PAPER = {
    "tasn_table2": {
        "features, X": (83.5,),
        "XX'X": (84.9,),
        "N(X)X'X": (85.2,),
        "N(X)N(X)'X": (84.3,),
        "N(XX'X)": (84.5,),
        "N(XX')X": (85.0,),
        "N(N(X)X')X": (85.3,),
        "self-attention": (None,),
    },
    "tasn_table3": {
        "ResNet-50": (81.6, 81.6),
        "uniform": (84.1, 85.8),
        "SSN": (84.8, 85.3),
        "inverse CDF": (85.5, 87.0),
    },
    "tasn_table4": {
        "ResNet-50": (81.6, 83.3, 85.0, 85.6),
        "master-net": (85.5, 86.6, 87.0, 86.8),
        "TASN": (87.0, 87.3, 87.9, 87.9),
        "TASN, ranked parts": (86.8,),
        "TASN, two parts a step": (87.0,),
    },
    "tasn_table5": {"ResNet-50": (81.6, 85.6), "TASN": (87.0,)},
    "tasn_table6": {"1 x VGG-19": (86.1,), "3 x VGG-19": (87.1,), "1 x ResNet-50": (87.9,)},
    "tasn_table7": {"iSQRT-COV, 32k": (88.1,), "TASN, 2k": (87.9,), "TASN + iSQRT-COV, 32k": (89.1,)},
    "tasn_table8": {
        "VGG-19": (88.6,),
        "master-net": (90.3,),
        "TASN": (92.4,),
        "2 x TASN": (93.1,),
        "3 x TASN": (93.2,),
    },
    "tasn_table9": {"1 x VGG-19": (92.4,), "3 x VGG-19": (93.2,), "1 x ResNet-50": (93.8,)},
    "tasn_table10": {
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
    },
}
# What the network of each cell is: sampler, number of parts, resolution, trunk; and the set.
NETWORKS = {
    "tasn_table3": {
        "ResNet-50": [("none", 0, 224, "resnet50", "cub")] * 2,
        "uniform": [("uniform", parts, 224, "resnet50", "cub") for parts in (0, 1)],
        "SSN": [("ssn", parts, 224, "resnet50", "cub") for parts in (0, 1)],
        "inverse CDF": [("inverse_cdf", parts, 224, "resnet50", "cub") for parts in (0, 1)],
    },
    "tasn_table4": {
        "ResNet-50": [("none", 0, size, "resnet50", "cub") for size in (224, 280, 336, 392)],
        "master-net": [("inverse_cdf", 0, size, "resnet50", "cub") for size in (224, 280, 336, 392)],
        "TASN": [("inverse_cdf", 1, size, "resnet50", "cub") for size in (224, 280, 336, 392)],
        "TASN, ranked parts": [("inverse_cdf", 1, 224, "resnet50", "cub")],
        "TASN, two parts a step": [("inverse_cdf", 2, 224, "resnet50", "cub")],
    },
    "tasn_table5": {
        "ResNet-50": [("none", 0, size, "resnet50", "cub") for size in (224, 448)],
        "TASN": [("inverse_cdf", 1, 224, "resnet50", "cub")],
    },
    "tasn_table6": {
        "1 x VGG-19": [("inverse_cdf", 1, 336, "vgg19", "cub")],
        "3 x VGG-19": [("inverse_cdf", 1, 336, "vgg19", "cub")],
        "1 x ResNet-50": [("inverse_cdf", 1, 336, "resnet50", "cub")],
    },
    "tasn_table8": {
        "VGG-19": [("none", 0, 336, "vgg19", "cars")],
        "master-net": [("inverse_cdf", 0, 336, "vgg19", "cars")],
        **{name: [("inverse_cdf", 1, 336, "vgg19", "cars")] for name in ("TASN", "2 x TASN", "3 x TASN")},
    },
    "tasn_table9": {
        "1 x VGG-19": [("inverse_cdf", 1, 336, "vgg19", "cars")],
        "3 x VGG-19": [("inverse_cdf", 1, 336, "vgg19", "cars")],
        "1 x ResNet-50": [("inverse_cdf", 1, 336, "resnet50", "cars")],
    },
    "tasn_table10": {
        name: [
            ("none", 0, 224, "resnet101", "inat2017"),
            ("ssn", 0, 224, "resnet101", "inat2017"),
            ("inverse_cdf", 1, 224, "resnet101", "inat2017"),
        ]
        for name in PAPER["tasn_table10"]
    },
}


def configs(name):
    """The config of each cell, by row."""
    table = TABLES[name]()
    runner = Runner(name, table, (), None, None)
    return {row: [runner.load(cell.variant) for cell in cells.values()] for row, cells in table.rows.items()}


def described(config):
    network = config.network
    return network.sampler, network.parts, network.resolution, network.trunk.name, config.dataset


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_figures(name):
    found = {
        row: tuple(None if cell.paper is None else round(100 - cell.paper, 1) for cell in cells.values())
        for row, cells in TABLES[name]().rows.items()
    }
    assert found == PAPER[name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.daily("tasn_table6")
def test_what_each_cell_trains(name):
    assert {row: [described(config) for config in cells] for row, cells in configs(name).items()} == NETWORKS[name]


def test_the_part_net_is_what_table_2_reports():
    made = {name: row[0].network for name, row in configs("tasn_table2").items()}
    assert {network.predict for network in made.values()} == {"part"}
    assert made["N(X)N(X)'X"].attention.normalise == ("spatial", "spatial_right")
    assert made["self-attention"].attention.kind == "self"
    assert len({str(network.attention) for network in made.values()}) == 8


def test_parts_are_ranked_in_a_row_of_table_4():
    selections = {name: row[0].network.selection for name, row in configs("tasn_table4").items()}
    assert [name for name, each in selections.items() if each == "ranked"] == ["TASN, ranked parts"]


def test_table_7_is_of_covariances():
    isqrt, plain, both = [row[0] for row in configs("tasn_table7").values()]
    assert (isqrt.network.name, isqrt.network.warp.name) == ("warped_features", "none")
    assert (isqrt.network.head.name, isqrt.network.head.reduced) == ("isqrt", 256)
    assert ("head" in plain.network, both.network.head.name, both.network.head.reduced) == (False, "isqrt", 256)
    assert (isqrt.evaluation.flip, both.evaluation.flip, "flip" in plain.evaluation) == (True, True, False)


def test_rows_of_several_networks_average_the_seeds_of_one():
    members = {
        name: {row: cell.members for row, cells in TABLES[name]().rows.items() for cell in cells.values()}
        for name in ("tasn_table6", "tasn_table8", "tasn_table9")
    }
    one_and_three = {"1 x VGG-19": 1, "3 x VGG-19": 3, "1 x ResNet-50": 1}
    assert members["tasn_table6"] == members["tasn_table9"] == one_and_three
    assert members["tasn_table8"] == {"VGG-19": 1, "master-net": 1, "TASN": 1, "2 x TASN": 2, "3 x TASN": 3}


def test_the_rows_of_table_10_are_figures_of_one_run_a_network():
    rows = TABLES["tasn_table10"]().rows
    assert {name: cell.figure for name, row in rows.items() for cell in row.values()} == {
        **{name: name for name in rows},
        "micro": "accuracy",
    }
    assert len({cell.variant for row in rows.values() for cell in row.values()}) == 3
