"""Rules that every public name keeps, and what may import what."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vtnjax

PACKAGE = Path(vtnjax.__file__).parent
ROOT = PACKAGE.parent
FOLDERS = ("vtnjax", "configs", "benchmarks", "docs", "notebooks", "tests")
PYTHON_FILES = [ROOT / "train.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
PACKAGES = sorted(m.name for m in pkgutil.iter_modules([str(PACKAGE)]) if m.ispkg)
MODULES = sorted(m.name for m in pkgutil.iter_modules([str(PACKAGE)]) if not m.ispkg)

# Design: the rooms, and the rooms each may import.
ROOMS = {
    "_arrays": set(),
    "_checks": set(),
    "_cpu": set(),
    "_files": set(),
    "ops": set(),
    "nn": {"ops"},
    "models": {"nn", "ops"},
    "losses": {"ops"},
    "distort": {"ops"},
    "plot": {"ops"},
    "data": set(),
    "retrieval": set(),
    "evaluate": {"ops", "nn", "models", "losses", "distort", "plot", "data", "retrieval"},
    "train": set(),
    "recipes": {"ops", "nn", "models", "losses", "distort", "plot", "data", "evaluate", "train"},
    "main": {"recipes", "train", "predict", "export"},
    "predict": {"recipes", "train", "data", "plot"},
    "export": {"recipes", "train", "predict"},
    "experiments": {"recipes", "train", "evaluate", "data", "models", "nn", "ops", "distort", "plot", "losses"},
}
SHARED = {"_arrays", "_checks", "_cpu", "_files"}  # What belongs to no room, and every room may import.
OUTSIDE = {  # Third-party packages, where the room's list is closed.
    "_arrays": {"jax", "jaxtyping", "numpy"},
    "_checks": set(),
    "_cpu": set(),
    "_files": {"numpy"},
    "ops": {"jax", "jaxtyping", "numpy"},
    "nn": {"jax", "jaxtyping", "numpy", "flax"},
    "models": {"jax", "jaxtyping", "numpy", "flax"},
    "distort": {"jax", "jaxtyping", "numpy"},
    "plot": {"jaxtyping", "numpy", "matplotlib", "jax"},
    "retrieval": {"jaxtyping", "numpy", "faiss"},
}


def public_names():
    for package in PACKAGES:
        for name in importlib.import_module(f"vtnjax.{package}").__all__:
            yield package, name


@pytest.mark.parametrize(("package", "name"), list(public_names()))
def test_public_names_exist_and_are_documented(package, name):
    thing = getattr(importlib.import_module(f"vtnjax.{package}"), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing)
        assert len(inspect.getdoc(thing).split()) >= 3


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_complete(package):
    module = importlib.import_module(f"vtnjax.{package}")
    assert list(module.__all__) == sorted(module.__all__)
    assert inspect.getdoc(module)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module != "vtnjax._checks"
        for alias in node.names
    }
    assert imported == set(module.__all__)


def test_functions_of_single_modules_are_documented():
    module = importlib.import_module("vtnjax.distort")
    functions = [f for n, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    for function in functions:
        assert function.__name__.startswith("_") or inspect.getdoc(function)


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def test_options_of_ops_are_keyword_only():
    from vtnjax import ops

    for name in ops.__all__:
        for parameter in parameters(getattr(ops, name)):
            optional = parameter.default is not inspect.Parameter.empty
            assert not optional or parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{name}({parameter})"


def test_the_key_comes_first():
    from vtnjax import distort

    functions = [getattr(distort, n) for n in ("rotate", "rotate_translate_scale", "project", "elastic")]
    for function in [*functions, distort.translate_clutter]:
        assert parameters(function)[0].name == "key"
    assert [p.name for p in parameters(distort.distort_batch)] == ["name", "key", "images"]


# ---- Imports


def files_of(room):
    path = PACKAGE / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports_of(path):
    """Full names of what a file imports, at its top or inside functions; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", [*PACKAGES, *MODULES])
def test_rooms_import_only_the_rooms_they_may(room):
    allowed = ROOMS[room] | {room} | SHARED
    for path in files_of(room):
        for name in imports_of(path):
            top, _, rest = name.partition(".")
            if top == "vtnjax":
                assert rest.split(".")[0] in allowed, f"{path} imports {name}"
            elif room in OUTSIDE and top not in sys.stdlib_module_names:
                assert top in OUTSIDE[room], f"{path} imports {name}"


# Models: what a module of networks may import from its room, and whole networks inside which networks.
SHARED_MODELS = {"layers", "feature_warps", "pooling", "resampling", "backbones", "pretrained", "_weight_files"}
WHOLE_NETWORKS = {
    "two_digits": {"STN"},
    "volumes": {"STN"},
    "house_numbers": {"PlacedSTN"},
    "dcl": {"WarpedFeatures"},
}


@pytest.mark.parametrize("path", files_of("models"), ids=lambda path: path.stem)
def test_networks_share_layers_by_modules_of_layers(path):
    if path.stem == "__init__":
        return
    for name in imports_of(path):
        if name.startswith("vtnjax.models."):
            module, _, thing = name.removeprefix("vtnjax.models.").partition(".")
            shared = module in SHARED_MODELS or thing in WHOLE_NETWORKS.get(path.stem, ())
            assert shared, f"{path.name} imports {name}"


def room_of(path):
    """The room that a file belongs to, or that a test in a folder of the same name tests."""
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] in ("vtnjax", "tests") else parts[0]


def private_modules():
    """Full names of the modules that belong to one room."""
    for path in sorted(PACKAGE.rglob("_*.py")):
        if not path.name.startswith("__") and path.parent != PACKAGE:
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_private_is_imported_in_its_own_room_alone(path):
    for name in imports_of(path):
        top, *parts = name.split(".")
        if top == "vtnjax" and parts and parts[0] not in SHARED and any(re.match("_[^_]", part) for part in parts):
            assert room_of(path) == parts[0], f"{path} imports {name}"


def test_the_linter_refuses_every_private_module():
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert sorted(lint["flake8-tidy-imports"]["banned-api"]) == list(private_modules())
    allowed = {f"vtnjax.{path.split('/')[1]}" for path, rules in lint["per-file-ignores"].items() if "TID251" in rules}
    assert allowed == {".".join(name.split(".")[:2]) for name in private_modules()}


@pytest.mark.parametrize("room", [*PACKAGES, *MODULES])
def test_no_file_imports_tensorflow_torch_or_pyplot(room):
    for path in files_of(room):
        for name in imports_of(path):
            assert name.split(".")[0] not in ("tensorflow", "torch", "torchvision"), f"{path} imports {name}"
            assert not name.startswith("matplotlib.pyplot"), f"{path} imports {name}"


@pytest.mark.parametrize(("room", "more"), [("data", "|jaxtyping"), ("retrieval", "")])
def test_rooms_of_numpy_need_no_jax(room, more):
    refused = re.compile(rf"(jax|flax|vtnjax\._arrays{more})\b")
    for path in files_of(room):
        assert not [name for name in imports_of(path) if refused.match(name)]


def run(code):
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_data_works_where_jax_and_tensorflow_are_refused():
    # Grain imports JAX where there is one.
    code = """
import sys
sys.modules["jax"] = sys.modules["tensorflow"] = None
from vtnjax import data
source = data.load_source("generated", "train", count=20)
batch = next(iter(data.train_batches(source, batch_size=4, seed=0, threads=0)))
print(*batch["image"].shape)
"""
    assert run(code) == ["4", "28", "28", "1"]


def test_importing_everything_imports_no_tensorflow_torch_or_pyplot():
    names = [f"vtnjax.{name}" for name in (*PACKAGES, *MODULES)]
    code = f"""
import sys, vtnjax, {", ".join(names)}
print(*[name for name in ("tensorflow", "torch", "matplotlib.pyplot") if name in sys.modules])
"""
    assert run(code) == []


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vtnjax.__version__ == project["version"]
    assert set(vtnjax.__all__) <= set(dir(vtnjax))


NAMES_OF_PAPERS = {"tasn", "vtn", "stn", "dcl", "photo", "triplet", "volume", "digits"}
NAMES_OF_PAPERS |= {"cub", "cars", "aircraft", "svhn", "elastic", "clutter"}


@pytest.mark.parametrize("path", files_of("train"), ids=lambda path: path.stem)
def test_the_engine_names_no_paper_data_set_or_distortion(path):
    words = set(re.split(r"[^a-z]+", path.read_text().lower()))
    assert not words & NAMES_OF_PAPERS


# ---- The mirror of tests

COLOCALISATION = "experiments/test_colocalisation.py"
# Modules that have no test file of their own name, and the file that tests them.
EXCEPTIONS = {
    **{f"experiments/colocalisation/{name}.py": COLOCALISATION for name in ("encoder", "images")},
    **{f"experiments/colocalisation/{name}.py": COLOCALISATION for name in ("localiser", "pictures")},
    "data/revisited.py": "data/test_revisited_truth.py",
    "evaluate/retrieval.py": "evaluate/test_retrieval_figures.py",
    "main.py": "test_front_door.py",
    **{f"models/backbones/{name}.py": "models/test_backbones.py" for name in ("inception", "resnet", "vgg")},
    "models/backbones/squeezenet.py": "models/test_squeezenet_weights.py",
    "models/colocalisation.py": "models/test_colocalisation_networks.py",
    "models/house_numbers.py": "models/test_house_number_network.py",
    "models/two_digits.py": "models/test_two_digit_networks.py",
    "nn/pooling.py": "nn/test_second_order.py",
    "ops/pooling.py": "ops/test_descriptors.py",
    **{f"plot/{name}.py": "test_plot.py" for name in ("drawing", "image_figures", "retrieved", "warp_figures")},
    "recipes/given.py": "recipes/test_runs.py",
    "recipes/trained.py": "recipes/test_runs.py",
}


@pytest.mark.parametrize("room", [*PACKAGES, *MODULES])
def test_every_module_has_its_test_file(room):
    for path in files_of(room):
        module = path.relative_to(PACKAGE)
        if not any(part.startswith("_") for part in module.parts):
            mirrored = f"{module.parent}/test_{module.name}"
            assert (ROOT / "tests" / EXCEPTIONS.get(str(module), mirrored)).is_file(), mirrored
            assert str(module) not in EXCEPTIONS or not (ROOT / "tests" / mirrored).is_file(), f"{module} has its file"


def test_no_two_test_files_share_a_name():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
