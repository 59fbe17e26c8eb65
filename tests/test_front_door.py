"""`import vtnjax`, what a room costs, what is said where an extra is missing, and the command `vtnjax`."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vtnjax
from vtnjax import main
from vtnjax._checks import needing

ROOT = Path(__file__).parents[1]
COMMANDS = ("main", "predict", "export")
ROOMS = sorted(m.name for m in pkgutil.iter_modules(vtnjax.__path__) if m.name not in COMMANDS and m.name[0] != "_")
FUNCTIONS = ["cpu_flags", "load_run"]
HEAVY = ("flax", "optax", "orbax", "grain", "cv2", "PIL", "matplotlib", "tensorflow", "tensorflow_datasets", "scipy")
LIGHT_ROOMS = ("ops", "nn", "losses", "distort", "models", "retrieval")
ROOMS_THAT_TRAIN = ("data", "plot", "train", "recipes", "experiments")
# What Flax and JAX do not bring by themselves.
OF_THE_EXTRA = (
    "cv2",
    "grain",
    "importlib_resources",
    "matplotlib",
    "ml_collections",
    "PIL",
    "tensorflow_datasets",
    "tqdm",
)
SENTENCE = 'vtnjax.{room} needs the extra "train": pip install "vtnjax[train]"'


def run(code, expect=0):
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == expect, result.stderr
    return result.stdout if expect == 0 else result.stderr


# ---- import vtnjax


@pytest.mark.slow
def test_every_room_is_an_attribute_that_is_imported_when_asked_for():
    code = f"""
import sys, vtnjax
assert not [name for name in sys.modules if name.split(".")[0] in ("jax", "numpy", "flax")]
for room in {ROOMS}:
    print(getattr(vtnjax, room).__name__)
print(vtnjax.load_run.__module__)
"""
    assert run(code).split() == [*(f"vtnjax.{room}" for room in ROOMS), "vtnjax.recipes.runs"]


def test_the_rooms_are_listed():
    assert sorted(vtnjax.__all__) == sorted([*ROOMS, *FUNCTIONS])
    assert {*ROOMS, *FUNCTIONS, "__version__"} <= set(dir(vtnjax))


def test_type_checkers_are_told_of_the_same_rooms():
    tree = ast.parse(Path(vtnjax.__file__).read_text())
    told = [node for branch in tree.body if isinstance(branch, ast.If) for node in branch.body]
    assert [alias.name for node in told for alias in node.names] == list(vtnjax.__all__)


@pytest.mark.slow
def test_the_rooms_of_pure_functions_load_neither_flax_nor_what_trains():
    code = "import sys; from vtnjax import ops, losses, distort"
    assert run(f"{code}; print(*[n for n in {HEAVY} if n in sys.modules])").split() == []


# Each takes a quarter of a second or more to import, and nothing needs it before something is drawn, read or loaded.
UNNEEDED = ("matplotlib", "scipy", "tensorflow", "tensorflow_datasets", "h5py", "mlxtend", "huggingface_hub", "torch")


@pytest.mark.slow
def test_the_rooms_that_train_import_nothing_that_is_not_needed_yet():
    code = "import sys; from vtnjax import nn, models, recipes"
    assert run(f"{code}; print(*[n for n in {UNNEEDED} if n in sys.modules])").split() == []


@pytest.mark.slow
def test_a_picture_imports_what_draws_it():
    code = """
import sys, numpy
from vtnjax import recipes
figure = recipes.PICTURES["gallery"](numpy.zeros((2, 4, 4, 1)), {}, ["a", "b"], None)
print(type(figure).__name__, "matplotlib" in sys.modules)
"""
    assert run(code).split() == ["Figure", "True"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("opz", "; did you mean 'ops'?"), ("model", "; did you mean 'models'?"), ("_checkz", ""), ("quaternion", "")],
)
def test_a_wrong_attribute_is_answered_with_the_nearest_room(name, hint):
    with pytest.raises(AttributeError) as caught:
        getattr(vtnjax, name)
    assert str(caught.value) == f"module 'vtnjax' has no attribute '{name}'{hint}"
    assert not hasattr(vtnjax, name)


# ---- What is installed


def refused(*modules):
    """Code after which those modules are as if they were not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"


@pytest.mark.slow
def test_the_rooms_of_a_plain_installation_import_without_the_extra():
    code = f"from vtnjax import {', '.join(LIGHT_ROOMS)}; print('imported')"
    assert run(refused(*OF_THE_EXTRA, "scipy") + code) == "imported\n"


@pytest.mark.slow
def test_a_room_without_its_extra_says_which_to_install():
    statements = ["import vtnjax.{room}", "from vtnjax import {room}", "import vtnjax; vtnjax.{room}"]
    code = [
        f"""
try:
    {statement.format(room=room)}
except ModuleNotFoundError as error:
    print(error, error.name is not None, sep="\\n")
"""
        for statement in statements
        for room in ROOMS_THAT_TRAIN
    ]
    said = run(refused(*OF_THE_EXTRA) + "".join(code)).splitlines()
    once = [line for room in ROOMS_THAT_TRAIN for line in (SENTENCE.format(room=room), "True")]
    assert said == once * len(statements)


@pytest.mark.parametrize(
    ("room", "module"), [("data", "grain"), ("data", "tqdm"), ("plot", "matplotlib"), ("train", "ml_collections")]
)
@pytest.mark.daily("data-grain")
def test_one_missing_module_of_the_extra_is_enough(room, module):
    said = run(refused(module) + f"import vtnjax.{room}", expect=1)
    assert said.rstrip().endswith(SENTENCE.format(room=room))
    assert re.search(rf"^ModuleNotFoundError: .*\b{module}\b", said, re.MULTILINE)  # the cause stands above it


def test_what_is_missing_inside_vtnjax_is_no_matter_of_extras():
    with (
        pytest.raises(ModuleNotFoundError, match=r"^No module named 'vtnjax\.nothing'$"),
        needing("x", room="vtnjax.y"),
    ):
        importlib.import_module("vtnjax.nothing")


def test_an_extra_that_is_installed_but_broken_speaks_for_itself():
    with pytest.raises(ImportError, match=r"^libGL is missing$"), needing("train", room="vtnjax.data"):
        raise ImportError("libGL is missing")


def test_the_extras_include_one_another():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(requirements):
        return {requirement.partition(">")[0] for requirement in requirements}

    assert names(project["dependencies"]) == {"flax", "jax", "jaxlib", "jaxtyping", "numpy"}
    assert {"optax", "orbax-checkpoint"} <= names(extras["train"])
    assert "vtnjax[train]" in extras["demo"]
    assert "vtnjax[retrieval,train]" in extras["test"]
    assert "vtnjax[demo,docs,test]" in extras["dev"]


# ---- vtnjax COMMAND


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Runs `vtnjax WORDS` in an empty folder up to train.py; returns its path and its words."""
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(main.runpy, "run_path", lambda path, run_name: started.append((run_name, path, *sys.argv)))

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["vtnjax", *words])
        main.main()
        ((run_name, path, first, *rest),) = started or [("__main__", "", "")]
        started.clear()
        assert run_name == "__main__"
        assert first == path
        return path, rest

    return call


def refusal(command, *words):
    with pytest.raises(SystemExit) as caught:
        command(*words)
    return caught.value.code


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(command, capsys, words):
    command(*words)
    said = capsys.readouterr().out
    assert "\n  train    Train a network" in said
    assert "\n  predict  Say what a trained run's network sees" in said
    assert "\n  export   Write a trained run's network" in said
    assert said.startswith("usage: vtnjax COMMAND")


@pytest.mark.parametrize(("word", "hint"), [("trian", "; did you mean 'train'?"), ("x", ""), ("--config", "")])
def test_a_wrong_command_is_answered_with_the_nearest(command, word, hint):
    assert refusal(command, word) == f"vtnjax: the command must be one of train, predict, export, not {word!r}{hint}"


CUB = str(ROOT / "configs" / "cub_vtn.py")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--config", "cub_vtn:smoke", "--eval_only"], ["--config", f"{CUB}:smoke", "--eval_only"]),
        (["--eval_only", "--config=cub_vtn"], ["--eval_only", f"--config={CUB}"]),
        (["-config", "cub_vtn:a=b,c=d"], ["-config", f"{CUB}:a=b,c=d"]),
        (["-config=cub_vtn:"], [f"-config={CUB}:"]),
        (
            ["--config", "mine/cub_vtn.py:x", "--config.dataset=cub_vtn", "--workdir", "cub_vtn"],
            ["--config", "mine/cub_vtn.py:x", "--config.dataset=cub_vtn", "--workdir", "cub_vtn"],
        ),
        (["--config", "cub_vtn.py"], ["--config", "cub_vtn.py"]),  # train.py says that there is no such file
        (["--help"], ["--help"]),
    ],
)
def test_train_starts_train_py_with_the_path_of_a_config_for_its_name(command, words, given):
    assert command("train", *words) == (str(ROOT / "train.py"), given)


def test_a_file_of_a_configs_name_wins(command):
    Path("cub_vtn").write_text("")
    assert command("train", "--config", "cub_vtn:smoke")[1] == ["--config", "cub_vtn:smoke"]


def test_a_folder_of_a_configs_name_does_not(command):
    Path("cub_vtn").mkdir()
    assert command("train", "--config", "cub_vtn")[1] == ["--config", CUB]


@pytest.mark.parametrize("words", [["--config", "cub_vnt:smoke"], ["--config=cub_vnt"]])
def test_a_wrong_config_is_answered_with_the_nearest(command, words):
    said = refusal(command, "train", *words)
    assert said.startswith("vtnjax: --config must be a file or one of composites, cub_dcl, cub_stn, ")
    assert said.endswith(", not 'cub_vnt'; did you mean 'cub_vtn'?")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "predict", "export"])
def test_a_command_without_its_extra_says_which_to_install(name):
    code = f"from vtnjax.main import main; sys.argv = ['vtnjax', '{name}', '--config', 'digits_stn']; main()"
    said = run(refused(*OF_THE_EXTRA) + code, expect=1)
    assert said == f"vtnjax: {SENTENCE.format(room=name)}\n"


@pytest.mark.parametrize("name", ["predict", "export"])
def test_a_command_is_handed_the_words_after_its_name(command, monkeypatch, name):
    given = []
    monkeypatch.setattr(importlib.import_module(f"vtnjax.{name}"), "main", given.append)
    command(name, "run", "--step", "best")
    assert given == [["run", "--step", "best"]]
