"""Tables of retrieval: the paper's figures, the configs of the cells, and precisions in place of errors."""

import json

import pytest

from vtnjax.experiments import TABLES, Runner, render
from vtnjax.experiments.__main__ import main

# Medium and Hard of ROxford and RParis, in the paper's order of columns.
TABLE_6 = {
    "MAC": ("mac", (41.7, 66.2, 18.0, 44.1)),
    "SPoC": ("spoc", (39.8, 69.2, 12.4, 44.7)),
    "CroW": ("crow", (42.4, 70.4, 13.3, 47.2)),
    "GeM": ("gem", (45.0, 70.7, 17.7, 48.7)),
    "R-MAC": ("rmac", (49.8, 74.0, 18.5, 52.1)),
    "fine-tuned GeM": ("gem", (64.7, 77.2, 38.5, 56.3)),
    "fine-tuned R-MAC": ("rmac", (60.9, 78.9, 32.4, 59.4)),
    "R-MAC + STN": ("rmac", (61.3, 79.4, 36.1, 59.8)),
    "GeM + VTN": ("gem", (67.4, 80.5, 45.5, 57.1)),
    "R-MAC + VTN": ("rmac", (65.6, 82.7, 43.3, 60.9)),
    "DELF": (None, (67.8, 76.9, 43.1, 55.4)),
    "DELF + VTN": (None, (69.7, 78.1, 45.1, 56.4)),
}


def made(name, tmp_path):
    """The table, and the config of each of its cells."""
    table = TABLES[name]()
    runner = Runner(name, table, (), tmp_path, tmp_path)
    return table, {row: [runner.load(c.variant) for c in cells.values()] for row, cells in table.rows.items()}


@pytest.mark.slow
def test_table_6_has_the_papers_figures_for_networks_so_pooled_and_warped(tmp_path):
    table, configs = made("vtn_table6", tmp_path)
    assert table.columns == ["ROxford M", "RParis M", "ROxford H", "RParis H"]
    pools = {n: None if "DELF" in n else config[0].network.pool.name for n, config in configs.items()}
    assert {n: (pools[n], tuple(c.paper for c in row.values())) for n, row in table.rows.items()} == TABLE_6
    for name, row in configs.items():
        assert [c.evaluation.benchmark for c in row] == ["roxford5k", "rparis6k"] * 2
        assert {c.network.warp.name for c in row} == {name.partition(" + ")[2].lower() or "none"}
        assert {c.network.trunk.name for c in row} == {"resnet50"}
        assert {c.steps > 0 for c in row} == {"+" in name or "tuned" in name or "DELF" in name}
        if "R-MAC" in name and row[0].steps:
            assert {c.objective.name for c in row} == {"triplet"}


@pytest.mark.slow
def test_scenes_are_searched_easy_medium_and_hard(tmp_path):
    table, configs = made("scenes_retrieval", tmp_path)
    assert [cell.figure for cell in table.rows["GeM + VTN"].values()] == ["map_easy", "map_medium", "map_hard"]
    for row in configs.values():
        assert {(c.evaluation.benchmark, c.dataset, c.network.trunk.name) for c in row} == {
            ("scenes", "scenes", "squeezenet")
        }
        assert {c.source_options.instances for c in row} == {"train"}
    warps = [row[0].network.warp.name for row in configs.values()]
    assert warps == ["none"] * 6 + ["stn", "vtn", "none", "stn", "vtn"] + ["none"] * 4 + ["vtn"] * 4
    figures = {name: row["Hard"].figure for name, row in table.rows.items() if "DELF" in name}
    assert {"alone" in name: figure for name, figure in figures.items()} == {True: "asmk_map_hard", False: "map_hard"}


def test_delf_learns_its_attention_after_its_features(tmp_path):
    for name in ("vtn_table6", "scenes_retrieval"):
        table = TABLES[name]()
        runner = Runner(name, table, (), tmp_path, tmp_path)
        for row in (table.rows["DELF"], table.rows["DELF + VTN"]):
            for cell in row.values():
                first, second = runner.load(cell.begins), runner.load(cell.variant)
                assert (first.network.stage, second.network.stage) == ("features", "attention")
                assert first.network.warp == second.network.warp
                assert first.evaluation == second.evaluation


def test_precisions_are_shown_as_they_are(tmp_path):
    table = TABLES["scenes_retrieval"]()
    runner = Runner("scenes_retrieval", table, ("--config.evaluation.data_dir=here",), tmp_path, tmp_path)
    for seed, shift in enumerate((0.0, 0.1)):
        path = runner.path(table.rows["GeM"]["Easy"].variant, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = {"map_easy": 0.5 + shift, "map_medium": 0.25, "map_hard": 0.125}
        path.write_text(json.dumps({"hardware": {}, "figures": figures, "steps": 0}))
    shown = render(runner, "", (0, 1), each_seed=True).splitlines()
    assert shown[0] == "Stamps in scenes, SqueezeNet: test mAP in percent."
    assert next(line for line in shown if line.startswith("| GeM |")) == (
        "| GeM | 55.0: 50.0, 60.0 | 25.0: 25.0, 25.0 | 12.5: 12.5, 12.5 | 0 |"
    )


def figures_of(name, rows, tmp_path, *arguments):
    """What `--smoke` leaves for the cells of some rows of a table."""
    where = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    main([name, "--smoke", "--seeds", "1", "--rows", *rows, *where, *arguments])
    table = TABLES[name]()
    overrides = tuple(each for each in arguments if each.startswith("--config."))
    runner = Runner(name, table, overrides, tmp_path / "runs", tmp_path)
    results = [(runner.result(f"{c.variant},smoke", 0), c) for row in rows for c in table.rows[row].values()]
    return [result["figures"][cell.figure] for result, cell in results if result]


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE_6)
def test_every_row_of_table_6_runs_on_drawn_landmarks(row, tmp_path, monkeypatch):
    """They lie as retrieval-SfM-120k and the benchmarks when they are downloaded; DELF learns from drawn scenes."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # of which the runs would have eight devices
    place = "RParis" if "R-MAC" in row else "ROxford"
    options = ["--columns", f"{place} M", f"{place} H"]
    options += ["--config.network.trunk.name=squeezenet", "--config.frozen_statistics=False"]
    figures = figures_of("vtn_table6", [row], tmp_path, *options)
    assert len(figures) == 2
    assert all(0 <= figure <= 1 for figure in figures)


@pytest.mark.slow
def test_rows_of_scenes_run_on_drawn_pictures(tmp_path, monkeypatch):
    """One off the shelf, one that is fine-tuned, and one of two stages."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    figures = figures_of("scenes_retrieval", ["R-MAC", "GeM + VTN", "DELF + VTN"], tmp_path)
    assert len(figures) == 9
    assert all(0 <= figure <= 1 for figure in figures)
