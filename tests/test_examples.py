"""Every public op, module and function of `retrieval` has one short example in its docstring, with its true output."""

import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax import nn, ops, retrieval

# What an example may use without importing it.
NAMES = {"jax": jax, "jnp": jnp, "nnx": nnx, "nn": nn, "np": np, "ops": ops, "retrieval": retrieval}
NEEDED = {"train_codebook": "faiss"}  # by an example, where not all installations have it
LONGEST = 8
EXAMPLES = [pytest.param(getattr(room, name), id=name) for room in (ops, nn) for name in room.__all__]
EXAMPLES += [pytest.param(thing, id=name) for name, thing in inspect.getmembers(retrieval, inspect.isfunction)]


@pytest.mark.parametrize("thing", EXAMPLES)
def test_the_last_section_of_a_docstring_is_a_short_example(thing):
    _, *sections = inspect.getdoc(thing).split("\nExamples:\n")
    assert len(sections) == 1, "the docstring must have one section `Examples:`"
    lines = sections[0].splitlines()
    assert all(line.startswith("    ") for line in lines), "`Examples:` must be the last section"
    assert lines[0].startswith("    >>> ")
    assert len(lines) <= LONGEST


@pytest.mark.parametrize("thing", EXAMPLES)
@pytest.mark.daily("affine_grid", "sample", "rerank")
def test_an_example_gives_what_it_says(thing):
    pytest.importorskip(NEEDED.get(thing.__name__, "jax"))
    # Unwrapped of its run-time type checks, so that the report has the line of the file.
    [example] = doctest.DocTestFinder(recurse=False).find(inspect.unwrap(thing), thing.__name__, globs=NAMES)
    assert any(line.want for line in example.examples), "an example must have an output"
    report = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert failed == 0, "".join(report)
