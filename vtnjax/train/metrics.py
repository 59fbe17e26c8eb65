"""A run's figures: `metrics.jsonl`, one object a line, and what the console shows of them."""

import json
import os
import sys
import time
from typing import Any

from etils import epath
from tqdm import tqdm

from vtnjax.train.store import is_store, write_whole


class MetricsFile:
    """`metrics.jsonl` of a workdir; in processes other than the first, or without a workdir, it takes nothing."""

    def __init__(self, workdir: epath.PathLike, *, active: bool = True, tensorboard: bool = False):
        self.path = epath.Path(workdir) / "metrics.jsonl"
        self.active = active
        self._board = _board(epath.Path(workdir)) if active and tensorboard else None

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Append a line, on the disk or in the bucket when this returns."""
        if not self.active:
            return
        line = {"step": step, **figures}
        try:
            if is_store(self.path):  # where nothing can be appended
                self._write_all([*self.read(), line])
            else:
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
        except Exception as error:  # whatever the storage layers raise
            raise OSError(f"{self.path} cannot be written: {error}") from error
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()

    def read(self) -> list[dict[str, Any]]:
        """All whole lines."""
        text = self.path.read_bytes().decode(errors="replace") if self.path.exists() else ""
        return [line for line in map(_parse, text.splitlines()) if isinstance(line, dict) and "step" in line]

    def cut_back(self, step: int) -> None:
        """Drop the lines after `step`, and half a line that a killed run may have left."""
        if self.active and self.path.exists():
            self._write_all([line for line in self.read() if line["step"] <= step])

    def final(self, step: int) -> dict[str, float] | None:
        """The test figures at `step`, or None if they are not there."""
        for line in reversed(self.read()):
            figures = {name: value for name, value in line.items() if name.startswith("test/")}
            if line["step"] == step and figures:
                return figures
        return None

    def _write_all(self, lines):
        write_whole(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())


class Console:
    """A progress bar on a terminal, plain lines elsewhere, nothing in processes other than the first.

    `figure` is shown beside the loss, if the objective logs it.
    """

    def __init__(self, steps: int, start: int, *, active: bool = True, figure: str = "accuracy"):
        self.active, self.steps, self.start = active, steps, start
        self._shown = ("loss", figure, "gradient_norm", "learning_rate", "images_per_second")
        self.began = time.monotonic()
        terminal = active and sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=start, unit="step", dynamic_ncols=True) if terminal else None

    def advance(self) -> None:
        """One step done."""
        if self._bar is not None:
            self._bar.update()

    def show(self, step: int, figures: dict[str, float]) -> None:
        """Figures at a step."""
        text = "  ".join(f"{name.replace('_', ' ')} {_short(figures[name])}" for name in self._shown if name in figures)
        if self._bar is not None:
            self._bar.write(f"step {step}  {text}")
        elif self.active:
            left = (time.monotonic() - self.began) / max(step - self.start, 1) * (self.steps - step)
            print(f"step {step}/{self.steps}  {text}  {_clock(left)} left", flush=True)

    def say(self, text: str) -> None:
        """A line of text."""
        if self._bar is not None:
            self._bar.write(text)
        elif self.active:
            print(text, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


def describe(figures: dict[str, float], figure: str = "accuracy", how: str = "") -> str:
    """Test figures in a line: an accuracy as the error in percent, another `figure` as it is; the loss; and `how`.

    The others follow as they are, but not what stands beside a figure for one of several seeds, such as accuracy_0.
    """
    if not figures:
        return "no test figures"
    value, loss = figures[f"test/{figure}"], figures.get("test/loss")
    shown = f"test error {100 * (1 - value):.2f} %" if figure == "accuracy" else f"test {figure} {value:.4f}"
    shown = shown if loss is None else f"{shown}, test loss {loss:.4f}"
    for name, other in figures.items():
        of_a_seed = any(name.startswith(f"{each}_") for each in figures)
        if name not in (f"test/{figure}", "test/loss") and not of_a_seed:
            shown += f", {name.removeprefix('test/')} {other:.4f}"
    return f"{shown} ({how})" if how else shown


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _board(workdir: epath.Path) -> Any:
    if is_store(workdir):
        raise ValueError(
            "config.tensorboard must be False in a bucket, not True: it writes to a folder of this machine"
        )
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError('config.tensorboard needs tensorboardX: pip install "vtnjax[tensorboard]"') from None
    return SummaryWriter(str(workdir / "tensorboard"))
