"""The tables: every cell is a variant of its config, and the papers' cells are theirs."""

import pytest

from vtnjax.experiments import TABLES, Cell, Runner


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.daily("stn_table2", "feature_maps_svhn", "digits_stn", "solar")
def test_every_cell_is_a_variant_of_its_config(tmp_path, name):
    made = Runner(name, TABLES[name](), (), tmp_path / "runs", tmp_path / "results")
    for row in made.table.rows.values():
        for cell in row.values():
            whole, smoke = (made.load(f"{cell.variant}{suffix}").steps for suffix in ("", ",smoke"))
            assert whole > smoke or whole == smoke == 0  # a network off the shelf takes no step


@pytest.mark.parametrize("name", ["two_digits", "composites", "hidden_digits", "attentions"])
def test_the_tables_of_ours_can_be_tuned_on_the_validation_split(tmp_path, name):
    made = Runner(name, TABLES[name](), (), tmp_path / "runs", tmp_path / "results")
    first = next(iter(made.table.rows.values()))["error"]
    assert made.load(f"{first.variant},split=validation").test_split == "validation"


def test_stn_table_1_has_the_papers_cells():
    rows = TABLES["stn_table1"]().rows
    assert rows["ST-FCN projective"]["P"] == Cell("model=st_fcn,warp=projective,distortion=P", 1.4)
    assert rows["CNN"]["TC"] == Cell("model=cnn,distortion=TC", 3.5)
    assert "TC" not in rows["ST-CNN TPS"]
    assert sum(len(row) for row in rows.values()) == 36 + 4


def test_the_columns_are_those_of_all_rows_in_their_order():
    assert TABLES["stn_table1"]().columns == ["R", "RTS", "P", "E", "TC"]
    assert TABLES["stn_table3"]().columns == ["224 px", "448 px"]


def test_the_two_digit_networks_are_the_same_by_either_label():
    pairs, sums = TABLES["two_digits"]().rows, TABLES["stn_addition"]().rows
    models = [next(iter(row.values())).variant for row in pairs.values()]
    variants = [next(iter(row.values())).variant for row in sums.values()]
    for model in models:
        name, *frozen = model.split(",")
        assert any(each.startswith(name + ",") and ("frozen" in each) == bool(frozen) for each in variants), model
    assert len(set(models)) == len(models) == 10
