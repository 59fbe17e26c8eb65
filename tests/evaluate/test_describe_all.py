"""Descriptors of a database: in parts as at once, kept, gone on with, never those of another network."""

import importlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import train_runs as runs
from describing import COUNT, Drawn, network
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate, models, nn, ops

# The package's attribute of this name is the function.
module = importlib.import_module("vtnjax.evaluate.describe_all")
SCRIPT = "tests/evaluate/describing.py"


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def expected(model):
    images = Drawn()
    return evaluate.describe(model, [images[index] for index in range(COUNT)])


def files(folder):
    return sorted(folder.glob("*/*.npz"))


@pytest.mark.slow
def test_parts_are_described_as_all_at_once(model, expected, tmp_path):
    images = Drawn()
    found = evaluate.describe_all(model, images)
    assert_allclose(found, expected, atol=1e-6)
    assert (found.dtype, found.shape) == (np.float32, (COUNT, 8))
    assert np.ptp(expected, axis=0).max() > 0.01  # they differ
    assert sorted(images.read) == list(range(COUNT))
    assert not list(tmp_path.iterdir())


def test_what_is_kept_is_read_and_not_made_again(model, expected, tmp_path):
    evaluate.describe_all(model, Drawn(), folder=tmp_path)
    assert [path.name for path in files(tmp_path)] == [
        f"{start:08}-{min(start + 32, COUNT):08}.npz" for start in range(0, COUNT, 32)
    ]
    images = Drawn()
    assert_allclose(evaluate.describe_all(model, images, folder=str(tmp_path)), expected, atol=1e-6)
    assert images.read == [0]  # to be compared


class Failing(Drawn):
    def __getitem__(self, index):
        if index == 70:
            raise ValueError("cat.jpg is cut off")
        return super().__getitem__(index)


def test_a_search_that_failed_goes_on_where_it_was(model, expected, tmp_path):
    with pytest.raises(ValueError, match=r"cat\.jpg is cut off"):
        evaluate.describe_all(model, Failing(), folder=tmp_path)
    assert len(files(tmp_path)) == 2
    images = Drawn()
    assert_allclose(evaluate.describe_all(model, images, folder=tmp_path), expected, atol=1e-6)
    assert sorted(images.read) == [0, *range(64, COUNT)]


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: b"KP" + data[2:]])
def test_a_damaged_file_is_made_again(model, expected, damage, tmp_path):
    evaluate.describe_all(model, Drawn(), folder=tmp_path)
    path = files(tmp_path)[1]
    path.write_bytes(damage(path.read_bytes()))
    images = Drawn()
    assert_allclose(evaluate.describe_all(model, images, folder=tmp_path), expected, atol=1e-6)
    assert sorted(images.read) == [0, *range(32, 64)]


def described_again(change, model, tmp_path):
    """How many images are read where those of a network lie already."""
    few = {"count": 40}
    evaluate.describe_all(model, Drawn(**few), folder=tmp_path, about="a")
    images = Drawn(**few)
    options = {"network": model, "about": "a", **change}
    found = evaluate.describe_all(options.pop("network"), images, folder=tmp_path, **options)
    return len(images.read), found


@pytest.mark.parametrize(
    "change",
    [
        {"network": network(seed=1)},
        {"network": network(pool=jax.vmap(ops.mac))},
        {"network": network(pool=nn.GeM(8, p=2.5, rngs=nnx.Rngs(0)))},
        {"scales": (1.0, 0.5)},
        {"exact": False},
        {"about": "b"},
    ],
    ids=["parameters", "pool", "p", "scales", "exact", "about"],
)
@pytest.mark.daily("parameters", "scales")
def test_descriptors_of_another_network_or_benchmark_are_not_used(change, model, tmp_path):
    count, found = described_again(change, model, tmp_path)
    assert count == 40
    options = {"network": model, **change}
    options.pop("about", None)
    assert_allclose(found, evaluate.describe_all(options.pop("network"), Drawn(count=40), **options), atol=1e-6)
    assert len({path.parent for path in files(tmp_path)}) == 2


def test_networks_without_parameters_of_their_own_have_other_names():
    pools = [jax.vmap(ops.mac), jax.vmap(ops.spoc), jax.vmap(ops.mac)]
    names = [module.fingerprint(network(pool=pool), (1.0,), True, ((20, 24),), "") for pool in pools]
    assert names[0] == names[2] != names[1]


def test_the_same_network_has_the_same_name_in_training_mode_and_on_all_devices(model, auto_mesh, tmp_path):
    model.train()
    everywhere = jax.sharding.NamedSharding(auto_mesh, jax.sharding.PartitionSpec())
    graphdef, state = nnx.split(network())
    again = nnx.merge(graphdef, jax.device_put(state, everywhere))
    count, _ = described_again({"network": again}, model, tmp_path)
    assert count == 1
    model.eval()


def test_what_a_name_cannot_know_is_seen(model, tmp_path):
    prepares = [lambda image: image - 0.5, lambda image: 4 * image[..., ::-1]]
    evaluate.describe_all(model, Drawn(count=3), folder=tmp_path, prepare=prepares[0])
    (path,) = files(tmp_path)
    with pytest.raises(ValueError, match=f"{path.parent} must hold descriptors by this network, but that of image 0"):
        evaluate.describe_all(model, Drawn(count=3), folder=tmp_path, prepare=prepares[1])


@pytest.mark.slow
def test_programs_are_those_of_all_sizes_together():
    describing = importlib.import_module("vtnjax.evaluate.describe")
    squeezed = models.RetrievalNet(models.SqueezeNet(rngs=nnx.Rngs(0)), jax.vmap(ops.mac), rngs=nnx.Rngs(0))
    images = Drawn(count=33)  # the last is alone in its chunk
    images.sizes = ((40, 70),) * 32 + ((60, 66),)
    shapes = []
    ordinary = describing.padded_shapes
    describing.padded_shapes = lambda sizes: shapes.append(ordinary(sizes)) or shapes[-1]
    try:
        evaluate.describe_all(squeezed, images)
    finally:
        describing.padded_shapes = ordinary
    assert shapes == [{(40, 70): (64, 128), (60, 66): (64, 128)}] * 2


def test_no_image_is_refused(model):
    with pytest.raises(ValueError, match="images must be at least one, not none"):
        evaluate.describe_all(model, Drawn(count=0))


# ---- Processes


def start(folder, output, env):
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(folder), str(output)],
        cwd=runs.ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def noted(folder, index=0):
    path = folder.with_suffix(f".read-{index}")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.slow
def test_a_killed_search_goes_on_and_makes_nothing_again(expected, tmp_path):
    folder, output = tmp_path / "kept", tmp_path / "found"
    env = runs.environment()
    process = start(folder, output, env)
    try:
        while len(files(folder)) < 2 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
    finally:
        runs.kill(process)
    kept = len(files(folder))
    assert 2 <= kept < 4
    folder.with_suffix(".read-0").unlink()
    runs.end(start(folder, output, env))
    assert sorted(noted(folder)) == [0, *range(32 * kept, COUNT)]
    assert_allclose(np.load(output.with_suffix(".0.npy")), expected, atol=1e-6)


@pytest.mark.slow
def test_two_processes_of_four_devices_each_make_their_share(expected, tmp_path):
    folder, output = tmp_path / "kept", tmp_path / "found"
    processes = [start(folder, output, env) for env in runs.two_processes()]
    try:
        for process in processes:
            runs.end(process)
    finally:
        for process in processes:
            runs.kill(process)
    shares = [[*range(32), *range(64, 96)], [*range(32, 64), *range(96, COUNT)]]
    for index, share in enumerate(shares):
        assert sorted(noted(folder, index)) == share
        assert_allclose(np.load(output.with_suffix(f".{index}.npy")), expected, atol=1e-6)
    found = [np.load(output.with_suffix(f".{index}.npy")) for index in range(2)]
    assert_array_equal(*found)
    runs.end(start(folder, output, runs.environment()))  # one process reads what two wrote
    assert len(noted(folder)) == len(shares[0]) + 1


def test_shares_are_all_chunks_once():
    for processes in (1, 2, 5, 9):
        shares = [module._chunks(COUNT, each, processes) for each in range(processes)]
        assert sorted(index for share in shares for chunk in share for index in chunk) == list(range(COUNT))
