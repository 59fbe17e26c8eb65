"""The checkout whose train.py and configs the tables run, and whose results they show."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def find_checkout() -> Path:
    """The folder that holds train.py, configs/ and results/.

    Raises:
        ValueError: if the package was installed without them.
    """
    if not ((ROOT / "train.py").is_file() and (ROOT / "configs").is_dir()):
        raise ValueError(
            "vtnjax.experiments needs train.py and the configs of a checkout of the repository, and "
            f"{ROOT} is none: clone it and install it from there, by pip install -e ."
        )
    return ROOT
