"""Sampling by matrix products is sampling by gathers, to the second order, at every coordinate, and gathers nothing."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax import export
from jax.extend.core import jaxprs_in_params
from numpy.testing import assert_allclose

from vtnjax import ops
from vtnjax.ops._matmul import MOST_KEPT, matmul

NAN, INF, HUGE = np.nan, np.inf, 1e30
BAD = [(NAN, 1.2), (1.3, NAN), (INF, 1.2), (1.3, -INF), (HUGE, 1.2), (-HUGE, 2.5), (INF, -INF), (2.0**31, 1.2)]
SIZES, CHANNELS = (4, 5), 4


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def places(sizes):
    """(points, axes): every whole coordinate in and around an image, others between them, and bad ones."""
    whole = np.stack(np.meshgrid(*[np.arange(-2.0, size + 2) for size in sizes[::-1]]), -1).reshape(-1, len(sizes))
    between = loops.random_coords(np.random.default_rng(1), (40,), sizes, beyond=9)
    bad = np.pad(BAD, ((0, 0), (0, len(sizes) - 2)), constant_values=0.5)
    return np.concatenate([whole, between, bad])


def of_groups(count):
    """A sampler with a field for each of so many groups; each reads the points in an order of its own."""

    def run(image, coords, **options):
        return ops.sample_channels(image, jnp.stack([jnp.roll(coords, k, 0) for k in range(count)], -2), **options)

    return run


def deformable(image, coords, *, padding="zeros", **options):
    offsets = coords[:20].reshape(4, 5, 1, 1, 1, 2)
    return ops.deformable_conv(image, jnp.ones((1, 1, CHANNELS, 2)), jnp.concatenate([offsets] * 2, 2), **options)


def normalised(align_corners):
    """Of the image's own size, so that the bad coordinates stay bad and whole ones whole."""

    def run(image, coords, **options):
        grid = ops.to_normalised(coords, SIZES, align_corners=align_corners)
        return ops.grid_sample(image, grid, align_corners=align_corners, **options)

    return run


FUNCTIONS = {
    "sample": (ops.sample, SIZES),
    "one pixel": (ops.sample, (1, 1)),
    "channels": (of_groups(CHANNELS), SIZES),
    "groups": (of_groups(2), SIZES),
    "volume": (ops.sample_volume, (2, 3, 4)),
    "grid_sample": (normalised(True), SIZES),
    "grid_sample, edges": (normalised(False), SIZES),
    "deformable": (deformable, SIZES),
}
OPTIONS = {
    **{padding: {"padding": padding} for padding in ("zeros", "border", "reflection", "wrap")},
    "fill": {"padding": "zeros", "fill": 2.5},
}
CASES = [
    *((name, option) for name in FUNCTIONS if name != "deformable" for option in OPTIONS),
    ("deformable", "zeros"),
]


def to_second_order(function):
    """Values, both gradients, and the gradients of a function of both gradients."""

    def loss(image, coords):
        out = function(image, coords)
        # A cotangent that depends on the samples, so that nothing of the second order is zero by itself.
        return (out**3 * jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)).sum()

    def gradients(image, coords):
        found = jax.grad(loss, (0, 1))(image, coords)
        return sum(jnp.sin(each).sum() for each in found), found

    def run(image, coords):
        second, first = jax.grad(gradients, (0, 1), has_aux=True)(image, coords)
        return function(image, coords), *first, *second

    return jax.jit(run)


@pytest.mark.parametrize(("name", "option"), CASES)
@pytest.mark.daily("sample-reflection", "deformable-zeros")
def test_products_are_gathers_to_second_order(x64, name, option):
    function, sizes = FUNCTIONS[name]
    image, coords = jnp.asarray(normal(*sizes, CHANNELS)), jnp.asarray(places(sizes))
    by_products, by_gathers = (
        to_second_order(functools.partial(function, **OPTIONS[option], backend=backend))(image, coords)
        for backend in ("matmul", "gather")
    )
    for found, expected in zip(by_products, by_gathers, strict=True):
        assert np.isfinite(found).all()
        assert name == "one pixel" or np.abs(expected).max() > 0
        assert_allclose(found, expected, atol=1e-10, rtol=1e-10)


READERS = {
    "gather": lambda image, point, **o: ops.sample(image, point, backend="gather", **o),
    "lerp": lambda image, point, **o: ops.sample_separable(image, point[:1], point[1:], backend="lerp", **o),
}


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", "wrap"])
@pytest.mark.parametrize("name", READERS)
@pytest.mark.daily("gather-reflection")
def test_the_gradient_to_the_image_moves_to_the_right_of_a_whole_coordinate(x64, name, padding):
    """Each sample's weights are piecewise linear in its coordinates; so is the image's gradient, which holds them."""
    image = jnp.zeros((3, 4, 1))
    coords = np.stack(np.meshgrid(np.arange(-4.0, 8), np.arange(-3.0, 6)), -1).reshape(-1, 2)

    def weights(point):
        return jax.grad(lambda i: READERS[name](i, point, padding=padding).sum())(image)

    def by_loop(points):
        """(points, pixels): what each pixel alone, being 1, adds to each sample."""
        pixels = np.eye(12).reshape(3, 4, 12)
        return loops.sample(pixels, points, padding=padding)

    found = jax.jit(jax.vmap(jax.jacrev(weights)))(jnp.asarray(coords)).reshape(len(coords), 12, 2)
    assert_allclose(found, loops.right_derivatives(by_loop, coords), atol=1e-10)


@pytest.mark.parametrize("padding", ["zeros", "reflection", "wrap"])
@pytest.mark.daily("zeros")
def test_products_are_the_plain_loop(x64, padding):
    image, coords = normal(*SIZES, 2), places(SIZES)[: -len(BAD)]
    found = jax.jit(functools.partial(ops.sample, padding=padding, backend="matmul"))(
        jnp.asarray(image), jnp.asarray(coords)
    )
    assert_allclose(found, loops.sample(image, coords, padding=padding), atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "groups", "channels", "kept"),
    [
        ((14, 15), 8, 1, 500 * 8 * 14),
        ((14, 15), 2, 64, 500 * 2 * 14 * 15),
        ((3, 7), 2, 5, 500 * 2 * 3 * 5),
        ((2, 3, 4), 1, 8, 500 * 2 * 3 * 4),
    ],
)
def test_what_lies_between_the_products_is_as_small_as_said(sizes, groups, channels, kept):
    image = jax.ShapeDtypeStruct((*sizes, groups, channels), jnp.float32)
    coords = jax.ShapeDtypeStruct((500, groups, len(sizes)), jnp.float32)
    equations = _equations(jax.make_jaxpr(lambda i, c: matmul(i, c, "zeros"))(image, coords).jaxpr)
    largest = max(variable.aval.size for equation in equations for variable in equation.outvars)
    assert largest == max(kept, 500 * groups * max(*sizes, channels))  # beside hats and samples


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _equations(inner)


def programs(function, *shapes):
    """The text of a function and its gradients, lowered for a TPU and for a GPU."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    both = jax.jit(jax.value_and_grad(lambda *a: (jax.vmap(function)(*a) ** 2).sum(), tuple(range(len(shapes)))))
    return [export.export(both, platforms=[each])(*arguments).mlir_module() for each in ("tpu", "cuda")]


LOWERED = {
    "sample": (ops.sample, (2, 8, 9, 4), (2, 5, 5, 2)),
    "channels": (ops.sample_channels, (2, 8, 9, 4), (2, 5, 5, 4, 2)),
    "volume": (ops.sample_volume, (2, 3, 8, 9, 2), (2, 5, 3)),
    "grid_sample": (functools.partial(ops.grid_sample, align_corners=False), (2, 8, 9, 4), (2, 5, 5, 2)),
    "deformable": (ops.deformable_conv, (2, 8, 9, 4), (3, 3, 4, 5), (2, 8, 9, 2, 3, 3, 2)),
    "inverse CDF": (lambda attention: jnp.concatenate(ops.attention_coords(attention, (8, 9))), (2, 5, 6)),
}


@pytest.mark.parametrize("name", LOWERED)
@pytest.mark.daily("sample")
def test_a_tpu_gathers_nothing(name):
    function, *shapes = LOWERED[name]
    if name == "deformable":
        shapes[1] = (shapes[0][0], *shapes[1])
    tpu, gpu = programs(function, *shapes)
    for indexing in ("stablehlo.gather", "stablehlo.scatter"):
        assert indexing not in tpu
        assert indexing in gpu


@pytest.mark.slow
def test_a_tpu_gathers_where_the_products_would_keep_much():
    limit = MOST_KEPT // (64 * 64)
    for points, gathered in ((limit, False), (limit + 1, True)):
        tpu, _ = programs(ops.sample, (1, 64, 64, 64), (1, points, 2))
        assert ("stablehlo.gather" in tpu) == gathered


def test_another_method_has_no_products():
    image, coords = jnp.ones((3, 4, 1)), jnp.ones((5, 2))
    for method in ("nearest", "bicubic"):
        with pytest.raises(
            ValueError, match=f"backend must be 'auto' or 'gather' with method='{method}', not 'matmul'"
        ):
            ops.sample(image, coords, method=method, backend="matmul")
    with pytest.raises(ValueError, match="backend must be one of 'auto', 'gather', 'matmul', not 'lerp'"):
        ops.sample(image, coords, backend="lerp")
