import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import jax
import jaxtyping
import pytest

# Every shape and dtype written in a signature of the library is checked while the tests run.
jaxtyping.install_import_hook("vtnjax", "beartype.beartype")

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

hypothesis.settings.register_profile(
    "vtnjax", max_examples=20, deadline=None, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("vtnjax")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def x64_module():
    with jax.enable_x64(True):
        yield


def _compile_quickly():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


# For tests that compile much and compute little.
quick_compile = pytest.fixture(_compile_quickly)
quick_compile_module = pytest.fixture(_compile_quickly, scope="module")


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
