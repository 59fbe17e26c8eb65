"""Every recipe trains over eight devices of one process, and of two, as on one device."""

import json
import subprocess
import sys

import every_recipe
import pytest
import train_runs as runs

from vtnjax import recipes


def start(env, meshes):
    """One process."""
    command = [sys.executable, every_recipe.__file__, meshes]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=runs.ROOT, env=env, text=True, **pipes)


def ends(*processes):
    """What the first of some processes prints last."""
    try:
        said = [process.communicate(timeout=600) for process in processes]
        assert [process.returncode for process in processes] == [0] * len(processes), said
    finally:
        for process in processes:
            runs.kill(process)
    return json.loads(said[0][0].splitlines()[-1])


@pytest.mark.slow
def test_ten_losses_of_every_recipe_are_those_of_one_device():
    found = ends(start(runs.environment(8), "1,8"))
    of_two = ends(*[start(env, "8") for env in runs.two_processes()])
    assert list(found) == list(of_two) == list(every_recipe.CASES)
    for case, of in found.items():
        assert len(of["1"]) == every_recipe.STEPS
        assert len({*of["1"]}) > every_recipe.STEPS / 2, case  # it learns, or is shown other images
        for losses in (of["8"], of_two[case]["8"]):
            assert losses == pytest.approx(of["1"], rel=1e-5), case


def test_every_recipe_is_among_them():
    names = {case.partition(":")[0] for case in every_recipe.CASES}
    assert names == {path.stem for path in (runs.ROOT / "configs").glob("*.py")}


@pytest.mark.parametrize("part", ["network", "input", "batches", "objective", "evaluation"])
@pytest.mark.daily("input")
def test_whatever_a_config_may_name_is_among_them(part):
    table = getattr(recipes, part.upper() if part == "batches" else f"{part.upper()}S")
    assert {every_recipe.read_config(case)[part].name for case in every_recipe.CASES} == set(table)
