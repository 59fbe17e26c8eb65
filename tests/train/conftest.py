import pytest


@pytest.fixture(autouse=True)
def _compiled_quickly(quick_compile):
    """Whole training steps take long to compile, and no time to run."""
