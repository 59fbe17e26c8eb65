"""The folder of a run: its name, whether it can be written, and whether it belongs to this config."""

from pathlib import Path

from etils import epath

from vtnjax.train.config import Config, config_differences, write_config


def default_workdir(config_path: str) -> Path:
    """`runs/CONFIG[-variant]` for `configs/CONFIG.py[:variant]`."""
    path, _, variant = config_path.partition(":")
    name = Path(path).stem
    return Path("runs") / (f"{name}-{variant.replace('=', '_').replace(',', '-')}" if variant else name)


def open_workdir(workdir: epath.Path, config: Config, *, write: bool) -> None:
    """Make the workdir, or check that it is this config's.

    Args:
        workdir: the folder.
        config: of the run.
        write: whether this process writes there; others only check.

    Raises:
        ValueError: if the folder was started with another config, naming each difference.
        OSError: if it cannot be written.
    """
    differences = config_differences(workdir, config)
    if differences:
        raise ValueError(
            f"the workdir {workdir} was started with another config: {'; '.join(differences)}. "
            "Use the same config to go on, or another --workdir"
        )
    if write:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_config(workdir, config)
        except OSError as error:
            raise OSError(f"the workdir {workdir} cannot be written: {error}") from error
