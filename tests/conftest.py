import fnmatch
import gc
import os
import tempfile

import jaxlib.version

# XLA compiles faster without its fusion emitters, which later versions cannot do without, and where it does not cut
# small programs into parts for several threads.
os.environ["XLA_FLAGS"] = " ".join(
    [
        *os.environ.get("XLA_FLAGS", "").split(),
        "--xla_force_host_platform_device_count=8",
        *(
            ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
            if jaxlib.version.__version_info__ < (0, 11)
            else []
        ),
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

# What the tests and the commands that they start compile is kept here, not in the user's cache; the workers share it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="vtnjax-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import hypothesis
import jax
import jaxtyping
import pytest

# Every shape and dtype written in a signature of the library is checked while the tests run.
jaxtyping.install_import_hook("vtnjax", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_disable_most_optimizations", True)  # tests compile much and compute little


def no_sharding(tracer):
    raise AttributeError("a traced array has no sharding")


if jax.__version_info__ < (0, 11):
    # Flax asks for the sharding of what BatchNorm keeps, and JAX composes a long sentence why a traced array has none:
    # most of the time of tracing a deep network.
    jax.core.Tracer.sharding = property(no_sharding)

hypothesis.settings.register_profile(
    "vtnjax", max_examples=20, deadline=None, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("vtnjax")


# Tracing makes objects by the million, nearly all of which JAX's caches keep.
gc.set_threshold(100_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def settled():
    """What a file of tests leaves in JAX's caches stays: the collector of garbage need not go through it ever again."""
    yield
    gc.collect(1)
    gc.freeze()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def x64_module():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def optimised():
    """Brings back the optimisations of the compiler that the other tests do without."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def untyped():
    """Run-time type checks off, so that bad input meets the library's own sentences."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def data_mesh(axis_type):
    return jax.make_mesh((8,), ("data",), axis_types=(axis_type,))


@pytest.fixture(scope="session")
def auto_mesh():
    return data_mesh(jax.sharding.AxisType.Auto)


@pytest.fixture(scope="session")
def explicit_mesh():
    return data_mesh(jax.sharding.AxisType.Explicit)


@pytest.fixture(scope="session")
def torch():
    """Imported only by the tests that ask for it."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem():
    """Of a test marked `daily`, the cases that one of its patterns fits run by default; the others are slow."""
    made = yield
    cases = {item.callspec.id: item for item in made if hasattr(item, "callspec")} if isinstance(made, list) else {}
    daily = next((item.get_closest_marker("daily") for item in cases.values()), None)
    if daily:
        fitting = {pattern: fnmatch.filter(cases, pattern) for pattern in daily.args}
        if unused := [pattern for pattern, names in fitting.items() if not names]:
            raise pytest.Collector.CollectError(f"no case fits {unused}; the cases are {list(cases)}")
        for name in set(cases).difference(*fitting.values()):
            cases[name].add_marker(pytest.mark.slow)
    return made
