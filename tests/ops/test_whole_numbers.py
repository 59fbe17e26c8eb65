"""Arrays of whole numbers: converted or refused, and the same whether they are traced or not."""

import jax
import jax.numpy as jnp
import numpy as np
import operators
import pytest
from numpy.testing import assert_allclose

from vtnjax import distort, ops

pytestmark = pytest.mark.usefixtures("untyped")

OTHERS = {
    "turn": (distort.turn, (operators.IMAGE, np.array(1.0))),
    "separable": (ops.sample_separable, operators.SAMPLERS["lerp"][1]),
}
EVERY = operators.OPERATORS | operators.LOSSES | OTHERS
ARGUMENTS = [(name, which) for name in EVERY for which in range(len(EVERY[name][1]))]


def outcome(call, arguments):
    """The values, or the sentence."""
    try:
        return call(*arguments)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(("name", "which"), ARGUMENTS)
@pytest.mark.daily("wrap-0")
def test_whole_numbers_do_the_same_traced_and_not(name, which):
    call, arguments = EVERY[name]
    arguments = [jnp.asarray(argument, jnp.float32) for argument in arguments]
    arguments[which] = jnp.asarray(np.round(3 * np.asarray(arguments[which])), jnp.int32)
    known, traced = outcome(call, arguments), outcome(jax.jit(call), arguments)
    if isinstance(known, str):
        assert traced == known
        assert len(known.split()) >= 6
    else:
        assert not isinstance(traced, str), traced
        jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-4, atol=1e-4), known, traced)


CORNERS = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])


@pytest.mark.parametrize("dtype", ["int32", "int8", "bfloat16", "float16", "float32"])
@pytest.mark.parametrize("how", ["known", "jit", "vmap"])
@pytest.mark.daily("known-float32")
def test_control_points_of_any_real_dtype_give_the_line_from_corner_to_corner(how, dtype):
    def line(control):
        return ops.thin_plate_spline_grid(jnp.asarray(CORNERS, jnp.float32), (1, 5), control=control)

    control = jnp.asarray(CORNERS, dtype)
    calls = {"known": line, "jit": jax.jit(line), "vmap": lambda control: jax.vmap(line)(control[None])[0]}
    assert_allclose(calls[how](control)[0], [[x, 0] for x in (-1, -0.5, 0, 0.5, 1)], atol=1e-6)


@pytest.mark.parametrize("dtype", [bool, complex])
def test_control_points_that_are_no_real_numbers_are_refused_alike(dtype):
    def grid(control):
        return ops.thin_plate_spline_grid(jnp.zeros((4, 2)), (3, 3), control=control)

    control = jnp.asarray(CORNERS > 0, dtype)
    known, traced = outcome(grid, [control]), outcome(jax.jit(grid), [control])
    assert "control must be real numbers" in known
    assert traced == known


@pytest.mark.parametrize("call", ["turn", "rotate", "project", "elastic"])
def test_distortions_refuse_images_of_bytes_in_a_sentence(call):
    image = jnp.ones((5, 5, 1), jnp.uint8)

    def distorted(image):
        given = (image, 0.5) if call == "turn" else (jax.random.key(0), image)
        return getattr(distort, call)(*given)

    for function in (distorted, jax.jit(distorted)):
        with pytest.raises(ValueError, match="image must be floating point, but its dtype is uint8"):
            function(image)
