"""Random distortions of digits (STN section 4.1, appendices A.3, A.4), made to run inside a compiled training step.

Each is a pure function of a key and one float image (h, w, c) and returns one float image, or a volume (d, h, w, c).
Outside the image everything is black, 0. Digits move, turn and grow as a person sees them; every random number is
uniform unless a docstring says otherwise. `distort_batch` applies a distortion by its name in the paper to a batch,
each image with a key of its own, whatever mesh the batch is spread over.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vtnjax import ops
from vtnjax._arrays import check_floating, check_rank, everywhere, widest
from vtnjax._checks import check_choice

SCHEMES = ("paper", "reference")
DISTORTIONS = ("none", "R", "RTS", "RTS2", "P", "E", "TC", "VOLUME")
CLUTTER_PATCHES = 6


def rotate(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """R: rotation by an angle in +-90 degrees."""
    return turn(image, jax.random.uniform(key, (), _dtype(image), -np.pi / 2, np.pi / 2))


def turn(image: Float[Array, "h w c"], angle: Float[Array, ""]) -> Float[Array, "h w c"]:
    """Turn an image about its centre, clockwise as one sees it, by an angle in radians."""
    return _similarity(image, image.shape[:2], angle=angle)


def rotate_translate_scale(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, shape: Sequence[int] = (42, 42)
) -> Float[Array, "h2 w2 c"]:
    """RTS: rotation in +-45 degrees, scale in 0.7 to 1.2, and a place in a canvas of 42 x 42 pixels.

    The place is uniform over those where the scaled, unrotated image lies within the canvas.
    """
    angle_key, scale_key, place_key = jax.random.split(key, 3)
    dtype = _dtype(image)
    angle = jax.random.uniform(angle_key, (), dtype, -np.pi / 4, np.pi / 4)
    scale = jax.random.uniform(scale_key, (), dtype, 0.7, 1.2)
    size, canvas = (jnp.array(s[1::-1], dtype) for s in (image.shape, shape))
    room = jnp.maximum((canvas - scale * size) / 2, 0)
    shift = room * jax.random.uniform(place_key, (2,), dtype, -1, 1)
    return _similarity(image, shape, angle=angle, scale=scale, shift=shift)


def rotate_translate_scale_channels(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, shape: Sequence[int] = (42, 42)
) -> Float[Array, "h2 w2 c"]:
    """RTS of each channel on its own (A.1)."""
    keys = jax.random.split(key, image.shape[-1])

    def move(key, channel):
        return rotate_translate_scale(key, channel[:, :, None], shape=shape)[:, :, 0]

    return jax.vmap(move, in_axes=(0, 2), out_axes=2)(keys, image)


def project(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """P: scale in 0.75 to 1, and each corner moved by a normal distance of 5 pixels standard deviation in x and y."""
    scale_key, corner_key = jax.random.split(key)
    dtype = _dtype(image)
    scale = jax.random.uniform(scale_key, (), dtype, 0.75, 1)
    size = jnp.array(image.shape[1::-1], dtype)
    corners = jnp.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], dtype)
    moved = corners + jax.random.normal(corner_key, (4, 2), dtype) * 5 * 2 / (size - 1).reshape(1, 2)
    grid = ops.projective_grid(_homography(moved, corners), image.shape[:2])
    return _read(image, grid / scale)


def elastic(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """E: scale in 0.75 to 1, and 16 thin-plate control points moved by a normal 1.5 pixels in x and y."""
    scale_key, point_key = jax.random.split(key)
    dtype = _dtype(image)
    scale = jax.random.uniform(scale_key, (), dtype, 0.75, 1)
    size = jnp.array(image.shape[1::-1], dtype)
    line = jnp.linspace(-1, 1, 4, dtype=dtype)
    control = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(16, 2)
    moved = control + jax.random.normal(point_key, (16, 2), dtype) * 1.5 * 2 / (size - 1).reshape(1, 2)
    return _read(image, ops.thin_plate_spline_grid(moved, image.shape[:2]) / scale)


def translate_clutter(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    others: Float[Array, "patches h w c"],
    *,
    shape: Sequence[int] = (60, 60),
    patch: int = 6,
) -> Float[Array, "h2 w2 c"]:
    """TC: a place in a black canvas of 60 x 60 pixels, and a 6 x 6 patch of each of the other digits at another place.

    All places are whole pixels. Where a patch meets the digit the brighter of both shows, a choice that the paper
    leaves open.
    `translate_clutter_place` returns the image's place too.
    """
    return translate_clutter_place(key, image, others, shape=shape, patch=patch)[0]


def translate_clutter_place(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    others: Float[Array, "patches h w c"],
    *,
    shape: Sequence[int] = (60, 60),
    patch: int = 6,
) -> tuple[Float[Array, "h2 w2 c"], Int[Array, "2"]]:
    """The image of `translate_clutter`, and the place (x, y) of the digit's first pixel in the canvas, int32."""
    place_key, from_key, to_key = jax.random.split(key, 3)
    image, others = jnp.asarray(image), jnp.asarray(others)
    canvas = jnp.zeros((*shape, image.shape[-1]), image.dtype)
    place = _place(place_key, image.shape[:2], shape)
    canvas = jax.lax.dynamic_update_slice(canvas, image, place)
    keys = (jax.random.split(k, len(others)) for k in (from_key, to_key))
    return _insert_patches(canvas, *keys, others, patch=patch), jnp.stack(place[1::-1])


def place_in_volume(
    key: PRNGKeyArray, image: Float[Array, "h w c"], *, depth: int = 16, shape: Sequence[int] = (60, 60, 60)
) -> Float[Array, "d2 h2 w2 c"]:
    """VOLUME (A.3): the image extruded to a block `depth` voxels deep, turned in 3-D and put in a black volume.

    The paper gives the volume, 60 x 60 x 60, and no ranges. Chosen here: the block turns by an angle in +-45 degrees
    about each axis, first x, then y, then z, and its centre is uniform over the places where the unturned block lies
    within the volume. Along z the block ends as an image does at its border: linearly, over one voxel.

    Args:
        key: a random key.
        image: (h, w, c), floating.
        depth: the depth of the block, in voxels; the paper gives none.
        shape: (d', h', w') of the volume.

    Returns:
        (d', h', w', c) in the image's dtype.
    """
    angle_key, place_key = jax.random.split(key)
    dtype = _dtype(image)
    turn = _turn(jax.random.uniform(angle_key, (3,), dtype, -np.pi / 4, np.pi / 4))
    size, volume = (jnp.array(s, dtype) for s in ((*image.shape[1::-1], depth), tuple(shape)[::-1]))
    shift = jnp.maximum((volume - size) / 2, 0) * jax.random.uniform(place_key, (3,), dtype, -1, 1)
    lines = [jnp.arange(n, dtype=dtype) - place for n, place in zip(shape[::-1], (volume - 1) / 2 + shift, strict=True)]
    return _read_slices(image, turn, lines, size)


def shuffle_regions(
    key: PRNGKeyArray,
    image: Float[Array, "h w c"],
    *,
    regions: int = 7,
    reach: int = 2,
    scheme: str = "paper",
) -> tuple[Float[Array, "h w c"], Int[Array, "regions regions"]]:
    """Exchange nearby regions of an image, the destruction of DCL (Chen et al. 2019, section 3.1).

    Each row of regions is shuffled on its own, then each column of what that made. By the paper's law the k-th of a
    line draws k + U(-reach, reach), and the line is sorted by what was drawn: none moves as far as 2 reach. The paper's
    own map, from a region's old row and column at once, may send two regions to one place.

    The reference code moves further. It goes along a line and exchanges each with the one before it with probability
    1/2, so that a region moves back by one at most and forward by any distance; and it exchanges whole rows in place of
    regions within columns. It also cuts 10 pixels off every side of a photograph of 448, which is not done here.

    Convention:
        Regions are equal rectangles, `h / regions` by `w / regions` pixels. A pixel belongs to the one that holds its
        centre and reads at its own place in the region that came there, bilinearly where regions are no whole pixels.

    Args:
        key: a random key.
        image: (h, w, c), floating, at least one pixel in each region.
        regions: in each row and in each column.
        reach: k of the paper's law, at most `regions`; 0 moves nothing by either law.
        scheme: "paper" or "reference".

    Returns:
        `(shuffled, places)`: the image in its dtype, and for each region of it, row by row, the number `row * regions +
        column` of the place that it came from, int32.

    Raises:
        ValueError: if an argument is not as above.
    """
    _check_regions(image, regions, reach, scheme)
    rows_key, columns_key = jax.random.split(key)
    whole = jnp.arange(regions, dtype=jnp.int32)
    if reach == 0:
        along_x, along_y = (jnp.broadcast_to(whole, (regions, regions)) for _ in range(2))
    elif scheme == "paper":
        along_x, along_y = (_sort_nearby(key, (regions, regions), reach) for key in (rows_key, columns_key))
    else:
        along_x = _exchange(rows_key, (regions, regions))
        along_y = jnp.broadcast_to(_exchange(columns_key, (1, regions)), (regions, regions))
    row = along_y.T  # [i, j]: what stands in row i of column j stood in this row of it
    column = jnp.take_along_axis(along_x, row, axis=0)
    return _read_regions(image, row, column), row * regions + column


def shuffle_batch(
    key: PRNGKeyArray, images: Float[Array, "n h w c"], **options: Any
) -> tuple[Float[Array, "n h w c"], Int[Array, "n regions regions"]]:
    """`shuffle_regions` of a batch, image i with the i-th key split from `key`; the options are that function's."""
    images = jnp.asarray(images)
    keys = _spread(jax.random.split(key, images.shape[0]), images)
    return jax.vmap(lambda key, image: shuffle_regions(key, image, **options))(keys, images)


def distorted_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape (h', w', c), or (d', h', w', c) of volumes, that `distort_batch` makes of images (h, w, c)."""
    h, w, c = shape
    large = {"RTS": (42, 42, c), "RTS2": (42, 42, c), "TC": (60, 60, c), "VOLUME": (60, 60, 60, c)}
    return large.get(name, (h, w, c))


def distort_batch(name: str, key: PRNGKeyArray, images: Float[Array, "n h w c"]) -> Float[Array, "n *sizes c"]:
    """Distort a batch, image i with the i-th key split from `key`.

    Args:
        name: "none", "R", "RTS", "P", "E" or "TC" of STN section 4.1, "RTS2" of A.1 or "VOLUME" of A.3. TC cuts its
            clutter from the batch's following images, so it needs at least 7.
        key: a random key.
        images: (n, h, w, c), floating.

    Returns:
        (n, h', w', c), or (n, d', h', w', c), in the images' dtype; see `distorted_shape`.

    Raises:
        ValueError: if the name is unknown, or a batch for TC is too small.
    """
    check_choice("name", name, DISTORTIONS)
    images = jnp.asarray(images)
    if name == "none":
        return images
    keys = _spread(jax.random.split(key, images.shape[0]), images)
    if name != "TC":
        distortion = {
            "R": rotate,
            "RTS": rotate_translate_scale,
            "RTS2": rotate_translate_scale_channels,
            "P": project,
            "E": elastic,
            "VOLUME": place_in_volume,
        }[name]
        return jax.vmap(distortion)(keys, images)
    if images.shape[0] <= CLUTTER_PATCHES:
        raise ValueError(f"images must be at least {CLUTTER_PATCHES + 1} for the clutter of TC, not {images.shape[0]}")
    following = jnp.arange(images.shape[0])[:, None] + jnp.arange(1, CLUTTER_PATCHES + 1)[None]
    others = jnp.take(everywhere(images), following % images.shape[0], axis=0)
    return jax.vmap(translate_clutter)(keys, images, _spread(others, images))


def _check_regions(image, regions, reach, scheme):
    check_floating("image", image)
    check_rank("image", image, "h w c")
    check_choice("scheme", scheme, SCHEMES)
    if not hasattr(regions, "__index__") or not 1 <= regions <= min(image.shape[:2]):
        raise ValueError(
            f"regions must be a whole number of at least 1 and at most the pixels of a side, {image.shape[:2]}, "
            f"not {regions!r}"
        )
    if not hasattr(reach, "__index__") or not 0 <= reach <= regions:
        raise ValueError(f"reach must be a whole number from 0 to regions, {regions}, not {reach!r}")


def _sort_nearby(key, shape, reach):
    """For each line (lines, n) the numbers of what stands at each place: each has drawn, and the line is sorted."""
    places = jnp.arange(shape[1], dtype=jnp.float32)
    drawn = places[None] + jax.random.uniform(key, shape, jnp.float32, -reach, reach)
    return jnp.argsort(drawn, axis=1).astype(jnp.int32)


def _exchange(key, shape):
    """The same where each in turn is exchanged with the one before it, or not, with equal probability."""
    places = jnp.broadcast_to(jnp.arange(shape[1], dtype=jnp.int32), shape)
    exchanged = jax.random.bernoulli(key, 0.5, shape) & (places > 0)
    # What stands last so far is the last that was not exchanged.
    last = jax.lax.cummax(jnp.where(exchanged, 0, places), axis=1)
    follows = jnp.where(exchanged[:, 1:], places[:, 1:], last[:, :-1])
    return jnp.concatenate([follows, last[:, -1:]], axis=1)


def _read_regions(image, row, column):
    """Each pixel reads at its place in the region that came to where it is."""
    regions, dtype = len(row), _dtype(image)
    here = np.arange(regions, dtype=np.int32)
    sizes = np.array(image.shape[1::-1]) / regions
    moved = jnp.stack([column - here[None, :], row - here[:, None]], axis=-1).astype(dtype)
    shift = moved * jnp.asarray(sizes, dtype).reshape(1, 1, 2)
    # Products, which a TPU computes faster than it reads one by one, with 1 where a pixel lies in a region.
    rows, columns = (jnp.asarray(_regions_of(n, regions)[:, None] == here[None], dtype) for n in image.shape[:2])
    shift = jnp.einsum("yi,ijd,xj->yxd", rows, shift, columns, precision="highest")
    return ops.sample(image, ops.displace(shift), padding="border").astype(image.dtype)


def _regions_of(pixels, regions):
    """The region that holds the centre of each pixel of a side."""
    return (2 * np.arange(pixels) + 1) * regions // (2 * pixels)


def _dtype(image):
    """The dtype of random numbers and coordinates, which bfloat16 would round by whole pixels."""
    check_floating("image", image)
    return widest(image.dtype, jnp.float32)


def _spread(x, images):
    """`x` over the devices as a batch of images is; only explicit sharding asks for it."""
    axis = jax.typeof(images).sharding.spec[0]
    return x if axis is None else jax.sharding.reshard(x, PartitionSpec(axis))


def _similarity(image, shape, *, angle, scale: Array | float = 1.0, shift=None):
    dtype = _dtype(image)
    centre_in, centre_out = ((jnp.array(s[1::-1], dtype) - 1) / 2 for s in (image.shape, tuple(shape)))
    place = centre_out if shift is None else centre_out + shift
    x, y = jnp.moveaxis(ops.identity_coords(shape).astype(dtype) - place.reshape(1, 1, 2), -1, 0)
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    turned = jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return ops.sample(image, turned + centre_in.reshape(1, 1, 2))


def _turn(angles):
    """The rotation about x, then y, then z, a matrix for columns (x, y, z)."""
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row) for row in rows])


def _read(image, grid):
    return ops.sample(image, ops.to_pixels(grid, image.shape[:2]))


def _homography(source, target):
    """The eight parameters of the projective map that takes four points to four points."""
    x, y = source.T
    zero = 0 * x  # not zeros_like: explicit sharding wants every row to know the batch it belongs to
    one, u, v = zero + 1, zero + target[:, 0], zero + target[:, 1]
    rows_u = jnp.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=-1)
    rows_v = jnp.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=-1)
    return jnp.linalg.solve(jnp.concatenate([rows_u, rows_v]), jnp.concatenate([u, v]))


# The two loops are compiled functions, since outside one JAX compiles a loop anew at every call.


@partial(jax.jit, static_argnames="patch")
def _insert_patches(canvas, from_keys, to_keys, others, *, patch):
    """The canvas with a patch of each other image; where they meet, the brighter of both."""
    size = (patch, patch, canvas.shape[-1])

    def insert(canvas, item):
        from_key, to_key, other = item
        cut = jax.lax.dynamic_slice(other, _place(from_key, size[:2], other.shape[:2]), size)
        at = _place(to_key, size[:2], canvas.shape[:2])
        both = jnp.maximum(jax.lax.dynamic_slice(canvas, at, size), cut)
        return jax.lax.dynamic_update_slice(canvas, both, at), None

    return jax.lax.scan(insert, canvas, (from_keys, to_keys, others))[0]


@jax.jit
def _read_slices(image, turn, lines, size):
    """Read, at the lines x, y and z, a turned block of the given size (x, y, z) whose every slice is the image."""

    def read_slice(z):
        x, y = lines[0][None, :], lines[1][:, None]
        x, y, z = (turn[0, k] * x + turn[1, k] * y + turn[2, k] * z + (size[k] - 1) / 2 for k in range(3))
        # Every slice of the block is the image: read in its plane it costs a third of what the block would.
        within = jnp.clip(jnp.minimum(z + 1, size[2] - z), 0, 1)
        return ops.sample(image, jnp.stack([x, y], axis=-1)) * within[..., None].astype(image.dtype)

    # A loop over the slices stays in the processor's cache, and XLA does not compute the volume again for every tap of
    # a sampler that reads it.
    return jax.lax.map(read_slice, lines[2])


def _place(key, size, canvas):
    room = jnp.array([c - s + 1 for c, s in zip(canvas, size, strict=True)], jnp.int32)
    y, x = jax.random.randint(key, (2,), jnp.zeros(2, jnp.int32), room)
    return y, x, jnp.zeros((), jnp.int32)
