"""Is a kernel of Pallas (Triton) faster than what XLA makes of `ops.sample_channels`? Only on a GPU.

    python benchmarks/pallas_sampler.py

prints milliseconds of both, forward, to the coordinates, and to both with the image's gradient added up atomically,
beside the megabytes that each must read and write, and writes results/pallas-sampler-gpu.json. The kernels read with
zeros outside. `ops` does not use them, whatever the times: a program that holds one cannot be exported, and a mesh that
splits the batch would gather it before the kernel.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float
from saving import save
from timing import median

from vtnjax import ops

# Channels, groups, and the points and channels of a program: a VTN's at ResNet-50's last map, and a field a channel.
CASES = {"VTN groups": (2048, 32, 16, 64), "VTN channels": (512, 512, 8, 128)}
BATCH, SIZE, BURST = 256, 14, 20
OUTSIDE = -9.0
LARGEST = 2.0**22  # a coordinate beyond is outside whatever the image, and casts to int32


def forward(
    image: Float[Array, "b h w c"], coords: Float[Array, "b p q g 2"], *, tile: tuple[int, int], interpret: bool = False
) -> Float[Array, "b p q c"]:
    """The samples. `tile` holds the points and channels of a program, powers of two; a group's channels are one, too.

    `interpret` runs the kernel without a GPU.
    """
    sizes, grid = _layout(image, coords, tile)
    shape = (*coords.shape[:-2], image.shape[-1])
    out = pl.pallas_call(
        partial(_forward_kernel, **sizes),
        grid=grid,
        out_shape=jax.ShapeDtypeStruct((math.prod(shape),), image.dtype),
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4),
    )(image.reshape(-1), coords.reshape(-1))
    return out.reshape(shape)


def backward(
    image: Float[Array, "b h w c"],
    coords: Float[Array, "b p q g 2"],
    cotangent: Float[Array, "b p q c"],
    *,
    tile: tuple[int, int],
    to_image: bool,
    interpret: bool = False,
) -> tuple[Float[Array, "b p q g 2"], Float[Array, "b h w c"] | None]:
    """The gradients to the coordinates and, if asked for, to the image; the arguments are those of `forward`."""
    sizes, grid = _layout(image, coords, tile)
    counts = [coords.size, *[image.size] * to_image]
    to_coords, *to_pixels = pl.pallas_call(
        partial(_backward_kernel, interpret=interpret, **sizes),
        grid=grid,
        out_shape=[jax.ShapeDtypeStruct((count,), jnp.float32) for count in counts],
        input_output_aliases={3: 1} if to_image else {},
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4),
    )(image.reshape(-1), coords.reshape(-1), cotangent.reshape(-1), jnp.zeros(image.size if to_image else 1))
    pixels = [each.reshape(image.shape).astype(image.dtype) for each in to_pixels]
    return to_coords.reshape(coords.shape), pixels[0] if to_image else None


def _layout(image, coords, tile):
    """What the kernels are told of the shapes, and the grid of programs: batch, points, channels."""
    (b, h, w, channels), groups, points = image.shape, coords.shape[-2], math.prod(coords.shape[1:-2])
    each = channels // groups
    rows, columns = tile[0], tile[1] if each == 1 else each
    sizes = {"h": h, "w": w, "groups": groups, "each": each, "points": points, "tile": (rows, columns)}
    return sizes, (b, pl.cdiv(points, rows), pl.cdiv(channels, columns))


def _forward_kernel(image, coords, out, **sizes):
    here, to, (tx, ty), corners, _ = _cells(coords, **sizes)
    first, right, below, far = _read(image, corners)
    upper, lower = first * (1 - tx) + right * tx, below * (1 - tx) + far * tx
    triton.store(out.at[to], (upper * (1 - ty) + lower * ty).astype(out.dtype), mask=here)


def _backward_kernel(image, coords, cotangent, zeros, to_coords, *to_image, interpret, **sizes):
    del zeros  # the image's gradient begins as these
    here, to, (tx, ty), corners, (entry, some) = _cells(coords, **sizes)
    weight = triton.load(cotangent.at[to], mask=here, other=0.0).astype(jnp.float32)
    first, right, below, far = _read(image, corners)
    moves = ((right - first) * (1 - ty) + (far - below) * ty, (below - first) * (1 - tx) + (far - right) * tx)
    for axis, move in enumerate(moves):
        total = move * weight if sizes["each"] == 1 else (move * weight).sum(1)
        triton.store(to_coords.at[entry + axis], total, mask=some)
    shares = ((1 - tx) * (1 - ty), tx * (1 - ty), (1 - tx) * ty, tx * ty)
    for pixels in to_image:
        for (inside, index), share in zip(corners, shares, strict=True):
            _add(pixels, index, share * weight, inside, interpret)


def _add(pixels, index, values, inside, interpret):
    if interpret:  # which knows no atomic additions at an index, and runs one program at a time
        pixels[...] = pixels[...].at[index].add(jnp.where(inside, values, 0))
    else:
        triton.atomic_add(pixels, (index,), values, mask=inside)


def _read(image, corners):
    return [triton.load(image.at[at], mask=inside, other=0.0).astype(jnp.float32) for inside, at in corners]


def _cells(coords, *, h, w, groups, each, points, tile):
    """What a program needs to know of its points and channels, (points, channels).

    Whether they exist; where they lie in the output; how far they are from their cell's first corner along x and y; of
    each corner whether it is a pixel, and where it lies; where their coordinates lie, and whether these exist.
    """
    batch, (rows, columns) = pl.program_id(0), tile
    point, channel = pl.program_id(1) * rows + jnp.arange(rows), pl.program_id(2) * columns + jnp.arange(columns)
    here = (point < points)[:, None] & (channel < groups * each)[None]
    row_of = batch * points + point
    entry = (row_of[:, None] * groups + (channel // each)[None]) * 2
    x, y = (triton.load(coords.at[entry + axis], mask=here, other=OUTSIDE) for axis in (0, 1))
    x, y = (jnp.where(jnp.abs(along) < LARGEST, along, OUTSIDE) for along in (x, y))  # also where it is no number
    left, top = jnp.floor(x), jnp.floor(y)
    corners = []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = left + right, top + down
        inside = here & (column >= 0) & (column < w) & (row >= 0) & (row < h)
        column, row = (jnp.where(inside, number, 0).astype(jnp.int32) for number in (column, row))
        corners.append((inside, ((batch * h + row) * w + column) * (groups * each) + channel[None]))
    # Where all channels are one group's, it has an entry for each point.
    once = (row_of * groups + pl.program_id(2)) * 2, point < points
    coordinates = (entry, here) if each == 1 else once
    return here, row_of[:, None] * (groups * each) + channel[None], (x - left, y - top), corners, coordinates


def make_data(channels: int, groups: int, dtype: str) -> tuple[Array, Array, Array]:
    """Image, coordinates of a slightly turned grid with noise of one pixel, and a cotangent."""
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (BATCH, SIZE, SIZE, channels)
    image, cotangent = (jax.random.normal(key, shape).astype(dtype) for key in keys[:2])
    y, x = jnp.meshgrid(jnp.arange(float(SIZE)), jnp.arange(float(SIZE)), indexing="ij")
    grid = jnp.stack([0.9 * x + 0.1 * y, 0.9 * y - 0.1 * x + 1], axis=-1)[None, :, :, None]
    return image, grid + jax.random.uniform(keys[2], (*shape[:3], groups, 2), minval=-1, maxval=1), cotangent


def contenders(tile: tuple[int, int]) -> dict[str, dict[str, Callable[..., Any]]]:
    """By pass and by name."""
    sampler = jax.vmap(ops.sample_channels)
    return {
        "forward": {"XLA": lambda i, c, _: sampler(i, c), "Pallas": lambda i, c, _: forward(i, c, tile=tile)},
        "to coordinates": {
            "XLA": lambda i, c, t: jax.vjp(lambda c: sampler(i, c), c)[1](t),
            "Pallas": partial(backward, tile=tile, to_image=False),
        },
        "to both": {
            "XLA": lambda i, c, t: jax.vjp(sampler, i, c)[1](t),
            "Pallas": partial(backward, tile=tile, to_image=True),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed bursts of each (default 5)")
    arguments = parser.parse_args()
    if jax.default_backend() != "gpu":
        raise SystemExit("benchmarks/pallas_sampler.py needs a GPU, and JAX finds none")
    found, began = {}, time.perf_counter()
    for case, (channels, groups, *tile) in CASES.items():
        for dtype in ("float32", "bfloat16"):
            data = make_data(channels, groups, dtype)
            image, coords = data[0].nbytes, data[1].nbytes
            moved = {
                "forward": 2 * image + coords,
                "to coordinates": 2 * (image + coords),
                "to both": 3 * image + 2 * coords,
            }
            for name, calls in contenders((tile[0], tile[1])).items():
                programs = {who: jax.jit(call).lower(*data).compile() for who, call in calls.items()}
                ms = {
                    who: median(partial(program, *data), arguments.rounds, burst=BURST)
                    for who, program in programs.items()
                }
                found[f"{case}, {dtype}, {name}"] = {**ms, "megabytes": moved[name] / 1e6}
                times = "  ".join(f"{who} {each:.2f} ms" for who, each in ms.items())
                print(f"{f'{case}, {dtype}, {name}':40}{times}  of {moved[name] / 1e6:.0f} MB", flush=True)
    command = f"python benchmarks/pallas_sampler.py --rounds {arguments.rounds}"
    save("pallas-sampler", command, seconds=time.perf_counter() - began, figures=found)


if __name__ == "__main__":
    main()
