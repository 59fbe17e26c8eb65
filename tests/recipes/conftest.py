import pytest


@pytest.fixture(autouse=True, scope="module")
def _compiled_quickly(quick_compile_module):
    """Whole training steps take long to compile, and no time to run."""
