"""--eval_only, by runs of train.py."""

import pytest
import train_runs as runs

pytestmark = pytest.mark.slow

HOUSE_NUMBERS = "configs/svhn_stn.py:smoke"
LOCATED = {"config": f"{runs.SMALLER}:scenes:smoke", "steps": 2, "eval_every": 2, "checkpoint_every": 2}
TINY = {"steps": 2, "log_every": 1, "eval_every": 2, "checkpoint_every": 2}


def test_a_run_whose_images_have_several_labels_is_scored_as_in_training(tmp_path):
    out, _ = runs.run_in_turn(tmp_path, config=HOUSE_NUMBERS, **TINY)
    finished = out.splitlines()[-1].partition(", ")[2]
    assert "test error" in finished
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", config=HOUSE_NUMBERS, **TINY)
    assert out.splitlines()[-1] == f"step 2: {finished}"
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", "--flip", config=HOUSE_NUMBERS, **TINY)
    assert out.splitlines()[-1].startswith("step 2: test error")


def test_a_trained_run_is_localised_in_one_process_and_in_two(tmp_path):
    out, _ = runs.run_in_turn(tmp_path, **LOCATED)
    finished, before = out.splitlines()[-1].partition(", ")[2], (tmp_path / "config.json").read_bytes()
    changed = {"evaluation.name": "localisation", "log_every": 7}
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", **LOCATED | changed, batch_size=4)
    found = out.splitlines()[-1]
    whole, folded = finished.split(", folded ")
    assert found.startswith(f"step 2: {whole}, top5_accuracy ")
    assert f", folded {folded}" in found
    for name in ("gt_known", "top1_localisation", "top5_localisation", "max_box_acc", "inside"):
        assert f", {name} 0." in found
    assert found.endswith("(boxes of the true class's heat above 15 % of its maximum)")
    pair = [
        runs.start(tmp_path, "--distributed", "--eval_only", env=env, **LOCATED | changed)
        for env in runs.two_processes()
    ]
    try:
        (out, _), (quiet, _) = [runs.end(process) for process in pair]
    finally:
        for process in pair:
            runs.kill(process)
    assert out.splitlines()[-1] == found
    assert "step" not in quiet
    assert (tmp_path / "config.json").read_bytes() == before
