"""The command `vtnjax predict`, also `python -m vtnjax.predict`: what a trained run's network sees in pictures."""

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vtnjax._checks import needing
from vtnjax._cpu import cpu_flags

with needing("train", room=__name__):
    from tqdm import tqdm

    from vtnjax import plot
    from vtnjax.data.folder import is_named_picture
    from vtnjax.recipes import Run, load_run

_BATCH = 32


class Answer(NamedTuple):
    """For each label of a picture its first classes and their probabilities, or why the picture was skipped."""

    file: Path
    labels: list[list[tuple[str, float]]]
    error: str = ""

    def line(self) -> str:
        """What is printed."""
        if self.error:
            return f"{self.file} is skipped: {self.error}"
        said = (", ".join(f"{name} {probability:.3f}" for name, probability in label) for label in self.labels)
        return f"{self.file}: {' | '.join(said)}"


def main(words: Sequence[str] | None = None) -> None:
    """Answer for every picture; exit code 1 if one was skipped."""
    os.environ.setdefault("XLA_FLAGS", cpu_flags())
    given = parse(words)
    try:
        answers = run(given)
    except (ValueError, OSError) as error:
        sys.exit(f"vtnjax predict: {error}")
    skipped = sum(bool(answer.error) for answer in answers)
    if skipped:
        sys.exit(f"vtnjax predict: {skipped} of {len(answers)} pictures were skipped")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("vtnjax predict", description="What a trained run's network sees in pictures.")
    parser.add_argument("workdir", help="folder of the run")
    parser.add_argument("images", nargs="+", type=Path, help="a picture, or a folder, whose folders are searched too")
    add_step(parser)
    parser.add_argument("--top", type=int, default=5, help="how many classes are named for each picture; 5 by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answers as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write them as a table: file, label, rank, class, ...")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw what the network did with each picture")
    given = parser.parse_args(words)
    if given.top < 1:
        parser.error(f"argument --top must be at least 1, not {given.top}")
    return given


def add_step(parser: argparse.ArgumentParser) -> None:
    """The flag that chooses a checkpoint."""
    parser.add_argument(
        "--step",
        type=lambda word: int(word) if word.isdecimal() else word,
        default="latest",
        help="which checkpoint: latest, the default; best, the one of the highest test figure; or the number of a step",
    )


def run(given: argparse.Namespace) -> list[Answer]:
    """Print an answer for each picture, and write the files that were asked for."""
    files = list(_files(given.images))
    for path in filter(None, (given.json, given.csv)):
        path.parent.mkdir(parents=True, exist_ok=True)  # it would be late to learn afterwards that there is no folder
    trained = load_run(given.workdir, step=given.step)
    if trained.describes:
        raise ValueError(
            f"{given.workdir} must hold a network that names classes, but its network describes images for a search: "
            "vtnjax.load_run gives their descriptors"
        )
    drawings, answers = _drawings(files, given.pictures), []
    with tqdm(total=len(files), unit=" pictures", disable=None) as bar:
        for part in (files[start : start + _BATCH] for start in range(0, len(files), _BATCH)):
            for answer in _answer(trained, part, given.top, drawings, min(_BATCH, len(files))):
                tqdm.write(answer.line(), file=sys.stderr if answer.error else sys.stdout)
                answers.append(answer)
            bar.update(len(part))
    if given.json:
        given.json.write_text(json.dumps(_as_json(given.workdir, trained, answers), indent=2) + "\n")
    if given.csv:
        _write_csv(given.csv, answers)
    return answers


def _files(images: Sequence[Path]) -> Iterator[Path]:
    """The files given, and of folders and theirs those that are pictures by their names; hidden ones aside."""
    for path in images:
        if not path.is_dir():
            yield path
            continue
        below = [each for each in sorted(path.rglob("*")) if "/." not in f"/{each.relative_to(path).as_posix()}"]
        found = [each for each in below if not each.is_dir() and is_named_picture(each)]
        if not found:
            raise ValueError(f"there is no picture in {path}")
        yield from found


def _drawings(files: Sequence[Path], folder: Path | None) -> dict[Path, Path]:
    """Where each file's picture goes, if anywhere: by its own name, and of several of one name each by a number."""
    if folder is None:
        return {}
    taken: set[str] = set()
    drawings = {}
    for file in dict.fromkeys(files):
        names = itertools.chain([file.stem], (f"{file.stem}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        drawings[file] = folder / f"{name}.png"
    return drawings


def _answer(
    trained: Run, files: Sequence[Path], top: int, drawings: dict[Path, Path], batch_size: int
) -> Iterator[Answer]:
    """The answers of a batch in the order of its files, which leaves their pictures."""

    def prepare(file: Path) -> np.ndarray | str:
        try:
            return trained.prepare(file)
        except ValueError as error:
            return str(error).removeprefix(f"{file} ")

    with ThreadPoolExecutor() as pool:
        prepared = dict(zip(files, pool.map(prepare, files), strict=True))
    good = {file: image for file, image in prepared.items() if not isinstance(image, str)}
    found = trained.forward(np.concatenate(list(good.values())), batch_size=batch_size) if good else ()
    each = {file: jax.tree.map(lambda whole, at=at: whole[at : at + 1], found) for at, file in enumerate(good)}
    for file in files:
        if file not in good:
            yield Answer(file, [], str(prepared[file]))
            continue
        prediction, out = each[file]
        if drawings:
            plot.save(trained.draw(good[file], prediction, out), drawings[file])
        yield Answer(file, _first(trained.classes, prediction, top))


def _first(classes: tuple[str, ...], prediction: np.ndarray, top: int) -> list[list[tuple[str, float]]]:
    """Of each label the first classes of a prediction (1, classes) or (1, labels, classes)."""
    labels = prediction.reshape(-1, len(classes))
    orders = np.argsort(-labels, axis=-1, stable=True)[:, :top]
    return [
        [(classes[each], float(label[each])) for each in order] for label, order in zip(labels, orders, strict=True)
    ]


def _as_json(workdir: str, trained: Run, answers: Sequence[Answer]) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "workdir": workdir,
        "step": trained.step,
        "pictures": [
            {
                "file": str(answer.file),
                "labels": [[{"class": name, "probability": value} for name, value in label] for label in answer.labels],
            }
            for answer in answers
            if not answer.error
        ],
        "skipped": [{"file": str(answer.file), "reason": answer.error} for answer in answers if answer.error],
    }


def _write_csv(path: Path, answers: Sequence[Answer]) -> None:
    """What `--csv` writes: a row for each class that is named; labels and ranks count from 1."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "rank", "class", "probability"])
        for answer in answers:
            for number, label in enumerate(answer.labels, 1):
                table.writerows([answer.file, number, rank, *first] for rank, first in enumerate(label, 1))


if __name__ == "__main__":
    main()
