"""--eval_only, by runs of train.py."""

import pytest
import train_runs as runs

pytestmark = pytest.mark.slow

HOUSE_NUMBERS = "configs/svhn_stn.py:smoke"
TINY = {"steps": 2, "log_every": 1, "eval_every": 2, "checkpoint_every": 2}


def test_a_run_whose_images_have_several_labels_is_scored_as_in_training(tmp_path):
    out, _ = runs.run_in_turn(tmp_path, config=HOUSE_NUMBERS, **TINY)
    finished = out.splitlines()[-1].partition(", ")[2]
    assert "test error" in finished
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", config=HOUSE_NUMBERS, **TINY)
    assert out.splitlines()[-1] == f"step 2: {finished}"
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", "--flip", config=HOUSE_NUMBERS, **TINY)
    assert out.splitlines()[-1].startswith("step 2: test error")
