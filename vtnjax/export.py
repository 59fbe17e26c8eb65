"""The command `vtnjax export`, also `python -m vtnjax.export`: a trained network as a program that runs without vtnjax.

program = jax.export.deserialize(bytearray(pathlib.Path("birds.bin").read_bytes()))
probabilities = program.call(images)
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from vtnjax._checks import needing
from vtnjax._cpu import cpu_flags

with needing("train", room=__name__):
    from etils import epath

    from vtnjax.predict import add_step
    from vtnjax.recipes import Run, load_run
    from vtnjax.train.store import write_whole

PLATFORMS = ("cpu", "cuda", "tpu")


def main(words: Sequence[str] | None = None) -> None:
    """Write the program and what is to be known of it."""
    os.environ.setdefault("XLA_FLAGS", cpu_flags())
    parser = argparse.ArgumentParser(
        "vtnjax export", description="A trained network as a program that runs without vtnjax."
    )
    parser.add_argument("workdir", help="folder of the run")
    parser.add_argument("file", type=epath.Path, help="the program's; FILE.json beside it says what it takes and gives")
    add_step(parser)
    given = parser.parse_args(words)
    try:
        run = load_run(given.workdir, step=given.step)
        program = export_run(run)
        given.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(given.file, bytes(program.serialize()))
        beside = epath.Path(f"{given.file}.json")
        write_whole(beside, (json.dumps(describe(run, program), indent=2) + "\n").encode())
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"vtnjax export: {error}")
    print(f"{given.file}: step {run.step}, for {', '.join(PLATFORMS)}; {beside} says what it takes and gives")


def export_run(run: Run) -> export.Exported:
    """A network as a program for a batch of any size, with its weights.

    The program takes uint8 images of the shape that the network reads, resized and cropped, and normalises them. It
    returns the probabilities, or the descriptors, of `Run.predict`, float32, and no `out`.
    """
    shape = export.symbolic_shape(f"n, {', '.join(map(str, run.shape))}")
    function = jax.jit(lambda images: run.probabilities(images)[0])
    return export.export(function, platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, jnp.uint8))


def describe(run: Run, program: export.Exported) -> dict[str, Any]:
    """What someone who has only the program must know."""
    (taken,), (given,) = program.in_avals, program.out_avals
    colours = {1: "grey", 3: "RGB"}.get(run.shape[-1], "of all its channels")
    pixels = f"The pixels are uint8, {colours}; the program normalises them."
    return {
        "preparation": f"{run.read.explain(run.image)} {pixels}",
        "input": _described(taken),
        "output": _described(given),
        **({} if run.describes else {"classes": list(run.classes)}),
        "platforms": list(program.platforms),
        "step": run.step,
        "jax": jax.__version__,
    }


def _described(value: Any) -> dict[str, Any]:
    sizes = [size if isinstance(size, int) else str(size) for size in value.shape]
    return {"shape": sizes, "dtype": str(value.dtype)}


if __name__ == "__main__":
    main()
