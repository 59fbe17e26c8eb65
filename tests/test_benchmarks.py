"""What the benchmarks share: medians of calls by a clock that is known, and where the figures go."""

import ast
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import ops
from vtnjax.experiments import read_record

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in ("timing", "saving", "torch_networks"))


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def timing(monkeypatch):
    module = load("timing")
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return module, clock


class Clock:
    """Stands still, but when someone works."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def worker(self, name, *seconds):
        """A call that takes the next of `seconds`, in turn, when it is waited for."""
        self.order, passing = [], iter(seconds)

        def call():
            def work():
                self.order.append(name)
                self.now += next(passing)

            return work

        return call


def test_the_median_leaves_the_first_call_out_and_waits(timing):
    module, clock = timing
    call = clock.worker("a", 100, 1, 5, 2)
    assert module.medians({"a": call}, 3, lambda work: work(), calls=1, warm_seconds=0) == {"a": 2000.0}


def test_contenders_take_turns(timing):
    module, clock = timing
    calls = {name: clock.worker(name, *[1] * 9) for name in "ab"}
    module.medians(calls, 2, lambda work: work(), calls=2, warm_seconds=0)
    assert "".join(clock.order) == "ab" + "aabb" * 2


def test_what_was_timed_side_by_side_stays_paired(timing):
    module, clock = timing
    calls = {"a": clock.worker("a", 9, 1, 2, 4), "b": clock.worker("b", 9, 3, 6, 5)}
    found = module.turns(calls, 3, lambda work: work(), calls=1, warm_seconds=0)
    assert found == {"a": [1000.0, 2000.0, 4000.0], "b": [3000.0, 6000.0, 5000.0]}


def test_the_ratio_is_that_of_neighbouring_turns(timing):
    module, clock = timing
    ours, theirs = clock.worker("a", 9, 1, 8, 9), clock.worker("b", 9, 2, 4, 10)
    found = module.beside_torch(ours, theirs, 3, wait=lambda work: work(), calls=1, warm_seconds=0)
    assert found == {"vtnjax": 8000.0, "torch": 4000.0, "ratio": 0.9}


def test_a_turn_begins_with_untimed_calls(timing):
    module, clock = timing
    call = clock.worker("a", 9, 4, 4, 1, 3, 4, 4, 2, 2)  # at first one; twice two to warm up, and two that count
    assert module.medians({"a": call}, 2, lambda work: work(), calls=2, warm_seconds=5) == {"a": 2000.0}


def test_the_median_of_one_call(timing):
    module, clock = timing
    taken = iter([100, 1, 7, 2])

    def call():
        clock.now += next(taken)
        return jnp.zeros(2)

    assert module.median(call, 3) == 2000.0


def test_figures_go_to_a_record_named_after_the_platform(tmp_path, monkeypatch, capsys):
    module = load("saving")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    module.save("speed", "python benchmarks/speed.py", seconds=1.5, figures={"ms": {"a": 2.0}}, packages=["pillow"])
    path = tmp_path / f"speed-{jax.default_backend()}.json"
    record = read_record(path)
    assert (record["command"], record["seconds"]) == ("python benchmarks/speed.py", 1.5)
    assert record["figures"] == {"ms": {"a": 2.0}}
    assert "pillow" in record["versions"]
    assert str(path) in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "channels"), [(8, 8), (2, 8)])
def test_the_kernels_of_pallas_sample_as_the_op_does(groups, channels, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    module = load("pallas_sampler")
    rng = np.random.default_rng(0)
    image, cotangent = (rng.standard_normal((2, *size, channels)).astype(np.float32) for size in ((5, 6), (3, 5)))
    coords = rng.uniform(-2, 7, (2, 3, 5, groups, 2)).astype(np.float32)
    coords[0, 0, :4, 0] = [[np.nan, 1], [2, 3], [5, 4], [-1, 1e30]]
    sampler = jax.vmap(ops.sample_channels)
    samples, pull = jax.vjp(sampler, image, coords)
    to_image, to_coords = pull(cotangent)
    options = {"tile": (4, 4), "interpret": True}
    assert_allclose(module.forward(image, coords, **options), samples, atol=1e-6)
    found = module.backward(image, coords, cotangent, to_image=True, **options)
    assert_allclose(found[0], to_coords, atol=1e-5)
    assert_allclose(found[1], to_image, atol=1e-5)
    only, none = module.backward(image, coords, cotangent, to_image=False, **options)
    assert_allclose(only, to_coords, atol=1e-5)
    assert none is None


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_benchmark_writes_a_record_of_its_own(path):
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not names & {"write_text", "sched_getaffinity", "__version__"}
