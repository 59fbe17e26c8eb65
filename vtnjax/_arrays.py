"""What every room asks of arrays: checks that end in a sentence, dtypes, and where a batch lies."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Shaped


def check_floating(name: str, array: jax.Array | np.ndarray) -> None:
    """Raise a ValueError unless the array is real floating point."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be floating point, but its dtype is {array.dtype}; convert it first")


def check_rank(name: str, array: jax.Array, axes: str) -> None:
    """Raise a ValueError unless the array has the axes named, such as "h w c"."""
    if array.ndim != len(axes.split()):
        raise ValueError(
            f"{name} must have the shape ({', '.join(axes.split())}) of one example, but its shape is {array.shape}; "
            "use jax.vmap for a batch"
        )


def check_last(name: str, array: jax.Array, size: int, holds: str) -> None:
    """Raise a ValueError unless the last axis has `size` entries."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(f"the last axis of {name} must hold {holds}, but its shape is {array.shape}")


def check_not_empty(name: str, array: jax.Array) -> None:
    """Raise a ValueError if a spatial axis of an image or a volume has no pixels."""
    if 0 in array.shape[:-1]:
        raise ValueError(f"{name} must have at least one pixel along each axis, but its shape is {array.shape}")


def check_static(name: str, value: object) -> None:
    """Raise a ValueError if a size, or one of several, is traced: shapes are part of the compiled program."""
    if any(isinstance(size, Tracer) for size in jax.tree.leaves(value)):
        raise ValueError(
            f"{name} must be static, whole numbers known when the function is compiled, not traced; name it in "
            "static_argnames of jax.jit, or close over it"
        )


def check_sizes(name: str, shape: Sequence[int], ranks: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` as a tuple of whole numbers of pixels, or raise a ValueError."""
    wanted = " or ".join({2: "(height, width)", 3: "(depth, height, width)"}[rank] for rank in ranks)
    check_static(name, shape)
    try:
        sizes = tuple(size.__index__() for size in shape)
    except (TypeError, AttributeError):
        sizes = ()
    if len(sizes) not in ranks or min(sizes) < 0:
        hint = "; leave out channels and batch" if len(sizes) > max(ranks) else ""
        raise ValueError(f"{name} must be {wanted} in pixels, not {shape!r}{hint}")
    return sizes


def check_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Return a whole number of at least 1, or two of them, as a pair for (rows, columns), or raise a ValueError."""
    check_static(name, value)
    try:
        pair = tuple(number.__index__() for number in (value if isinstance(value, Sequence) else (value, value)))
    except (TypeError, AttributeError):
        pair = ()
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, or two for (rows, columns), not {value!r}")
    rows, columns = pair
    return rows, columns


def check_maps(image: jax.Array, name: str, maps: jax.Array) -> None:
    """Raise a ValueError unless the images are (n, h, w, c) and there is a map (h0, w0), or (h0, w0, 1), for each."""
    if image.ndim != 4:
        raise ValueError(f"image must have the shape (n, h, w, c), but it is {image.shape}")
    count = image.shape[0]
    if maps.ndim not in (3, 4) or maps.shape[0] != count or maps.shape[3:] not in ((), (1,)):
        raise ValueError(
            f"{name} must have the shape ({count}, h, w) or ({count}, h, w, 1) with one map for each image, "
            f"but it is {maps.shape}"
        )


def as_array(value: Any) -> Any:
    """What a `flax.nnx.Variable` holds, traced or not, and anything else as it is; `jnp.asarray` does the same.

    For where an array that is known must stay one of NumPy.
    """
    unwrap = getattr(value, "__jax_array__", None)  # of a tracer it is None
    return value if unwrap is None else unwrap()


def as_coords(name: str, coords: ArrayLike) -> Float[Array, "..."]:
    """Coordinates as a JAX array of at least float32: bfloat16 cannot tell pixel 300 from pixel 301."""
    coords = jnp.asarray(coords)
    check_floating(name, coords)
    return coords.astype(widest(coords.dtype, jnp.float32))


def as_positions(name: str, features: ArrayLike) -> Float[Array, "p c"]:
    """A feature map (h, w, c) of at least one position as (h * w, c), row by row, at least float32."""
    features = as_coords(name, features)
    check_rank(name, features, "h w c")
    h, w, c = features.shape
    if 0 in (h, w):
        raise ValueError(f"{name} must have at least one position, but their shape is {features.shape}")
    return features.reshape(h * w, c)


def by_rows(function: Callable[..., Shaped[Array, "rows c2"]], *maps: Shaped[Array, "*n c"]) -> Shaped[Array, "*n c2"]:
    """A function of the channels of each position, of which it sees a matrix with one position in each row.

    XLA on a CPU sums the columns of a matrix faster than it sums an array of four axes over three, also in gradients:
    what follows a BatchNorm up to the next convolution is written between the same two reshapes.
    """
    rows = function(*(each.reshape(-1, each.shape[-1]) for each in maps))
    return rows.reshape(*maps[0].shape[:-1], rows.shape[-1])


def widest(*dtypes: DTypeLike) -> jnp.dtype:
    """The floating dtype of most bits: what `jnp.promote_types` says, but also under strict promotion."""
    return max((jnp.dtype(dtype) for dtype in dtypes), key=lambda dtype: jnp.finfo(dtype).bits)


def everywhere(batch: Shaped[Array, "n *rest"]) -> Shaped[Array, "n *rest"]:
    """The whole batch on every device; only explicit sharding asks for it."""
    sharded = jax.typeof(batch).sharding.spec[0] is not None
    return jax.sharding.reshard(batch, PartitionSpec()) if sharded else batch


def clamp(array: Float[Array, "*n"], low: ArrayLike, high: ArrayLike) -> Float[Array, "*n"]:
    """As `jnp.clip`, but at a limit, which an even map meets everywhere, the whole gradient passes."""
    return jnp.where(array < low, low, jnp.where(array > high, high, array))


@jax.custom_jvp
def maximum(x: Float[Array, "*n"], y: Float[Array, "..."]) -> Float[Array, "*n"]:
    """As `jnp.maximum`, but with its gradient also where a compiler computes x or y again and rounds it otherwise.

    The gradient of `jnp.maximum` passes to what equals the result, and is lost where nothing does: XLA fuses what made
    x into both passes, and one of them may multiply and add with a single rounding. Equal values share the gradient.
    """
    return jnp.maximum(x, y)


@maximum.defjvp
def _maximum_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return maximum(x, y), jnp.where(x > y, dx, jnp.where(x < y, dy, (dx + dy) / 2))


@jax.custom_jvp
def highest(x: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """The highest value along the last axis, with a gradient that is not lost where that of `jnp.max` is.

    See `maximum`. Of equal values the first has the whole gradient.
    """
    return x.max(-1)


@highest.defjvp
def _highest_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    first = jax.nn.one_hot(x.argmax(-1), x.shape[-1], dtype=bool)
    return highest(x), jnp.where(first, dx, 0).sum(-1)
