"""PyTorch's files: every name and nesting they are kept by, and what is refused."""

import pickle
import sys
import types
import warnings

import numpy as np
import pytest

from vtnjax.models._weight_files import read_weights

# ---- Without PyTorch: a package in its place


class Tensor:
    """As much of PyTorch's tensor as is asked for."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float32)

    def detach(self):
        return self

    float = detach

    def numpy(self):
        return self.values


@pytest.fixture
def read(monkeypatch, tmp_path):
    """Reads a file of which PyTorch makes what is given."""

    def read(found, name="w.pth"):
        def load(path, *, map_location, weights_only):
            assert weights_only
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=Tensor))
        (tmp_path / name).touch()
        return read_weights(tmp_path / name)

    return read


WEIGHTS = {"conv.weight": Tensor([1, 2])}


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.pth.tar"])
@pytest.mark.parametrize("found", [WEIGHTS, {"state_dict": WEIGHTS, "epoch": 3}, {"model": WEIGHTS, "epoch": 3}])
def test_tensors_by_name_are_read_under_every_name_also_from_a_checkpoint(read, found, name):
    weights = read(found, name)
    assert list(weights) == ["conv.weight"]
    np.testing.assert_array_equal(weights["conv.weight"], [1, 2])


ADVICE = "Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"net": WEIGHTS, "epoch": 3}, r"w\.pth' must hold tensors by name, .* but it holds 'net', 'epoch'$"),
        ([1.0], r"w\.pth' must hold tensors by name, .* but it holds a list$"),
        (
            pickle.UnpicklingError(f"{ADVICE}. WeightsUnpickler error: Unsupported global: GLOBAL a.B was not allowed"),
            r"w\.pth' must hold tensors by name and nothing that may run code, .* but it holds objects of a\.B$",
        ),
        (pickle.UnpicklingError(f"{ADVICE}. Unsupported operand 60"), r"w\.pth' is not a whole PyTorch file: download"),
        (KeyError(7), r"w\.pth' is not a whole PyTorch file: download it again$"),
    ],
)
def test_anything_else_is_refused_without_pytorchs_advice(read, found, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        read(found)
    assert "weights_only" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_a_file_that_may_not_be_opened_says_so(read):
    with pytest.raises(PermissionError, match="not for you"):
        read(PermissionError("not for you"))


# ---- With it


def tensors(torch):
    return {"conv.weight": torch.arange(6.0).reshape(2, 3), "norm.num_batches_tracked": torch.tensor(3)}


def assert_read(path):
    found = read_weights(path)
    assert found.keys() == {"conv.weight", "norm.num_batches_tracked"}
    np.testing.assert_array_equal(found["conv.weight"], np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.pth.tar"])
def test_every_name_of_a_pytorch_file(torch, tmp_path, name):
    torch.save(tensors(torch), tmp_path / name)
    assert_read(tmp_path / name)


@pytest.mark.torch
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3, "best": 0.5},
        lambda weights: {"model": weights, "optimizer": {"lr": 0.1, "state": {}}},
        lambda weights: {"epoch": 3, "state_dict": {"model": weights}},
    ],
)
def test_a_checkpoint_of_a_training_program(torch, tmp_path, wrap):
    torch.save(wrap(tensors(torch)), tmp_path / "w.ckpt")
    assert_read(tmp_path / "w.ckpt")


@pytest.mark.torch
def test_parameters_and_half_precision_are_read(torch, tmp_path):
    kernel = torch.nn.Parameter(torch.arange(6.0, dtype=torch.bfloat16).reshape(2, 3))
    torch.save(tensors(torch) | {"conv.weight": kernel}, tmp_path / "w.pth")
    assert_read(tmp_path / "w.pth")


class Options:
    """What a training program may keep beside the weights."""


@pytest.mark.torch
@pytest.mark.parametrize(
    ("wrap", "sentence"),
    [
        (
            lambda torch: {"state_dict": tensors(torch), "args": Options()},
            r"nothing that may run code.* of \S+\.Options$",
        ),
        (lambda torch: torch.nn.Linear(2, 3), r"nothing that may run code, .* of torch\.nn\.modules\.linear\.Linear$"),
        (lambda torch: {"net": tensors(torch), "epoch": 3}, r"'state_dict' or 'model', but it holds 'net', 'epoch'$"),
        (lambda torch: {"state_dict": {"a": 1.0}}, r"must hold tensors by name, as torch\.save.* holds 'a'$"),
        (lambda torch: [1.0], r"must hold tensors by name, as torch\.save.* holds a list$"),
    ],
)
def test_a_pytorch_file_of_something_else_is_refused_without_pytorchs_advice(torch, tmp_path, wrap, sentence):
    torch.save(wrap(torch), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=sentence) as refused:
        read_weights(tmp_path / "w.pth")
    assert "weights_only" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


@pytest.mark.torch
def test_a_torchscript_program_is_refused(torch, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"nothing that may run code, .* but it holds a TorchScript program$"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_pytorch_file_is_refused(torch, tmp_path, zipped):
    path, rng = tmp_path / "w.pth", np.random.default_rng(0)
    torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
    whole, refused = path.read_bytes(), 0
    contents = [b"", b"no zip file", b"PK\x03\x04", whole[:-20], whole[: len(whole) // 2]]
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=20):
            damaged[place] = rng.integers(256)
        contents.append(bytes(damaged))
    for content in contents:
        path.write_bytes(content)
        try:
            read_weights(path)
        except ValueError:
            refused += 1
    assert refused > len(contents) // 2  # in the others a number is changed, which no reader can see
