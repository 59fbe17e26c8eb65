"""Writes grid_sample.npz and affine_grid.npz beside this file: what PyTorch answers, in float64.

    python tests/golden/make_torch_goldens.py

The everyday tests read the two files, so they need no PyTorch. Arrays are channel-last, as in vtnjax.
"""

import itertools
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
METHODS = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def away_from_kinks(rng, shape, sizes):
    """Normalised points in [-2.5, 2.5] whose pixel coordinates are no integer and no half, under both align_corners."""
    points = rng.uniform(-2.5, 2.5, (*shape, len(sizes)))
    while True:
        corners = (points + 1) / 2 * (np.array(sizes) - 1)
        edges = ((points + 1) * np.array(sizes) - 1) / 2
        twice = 2 * np.stack([corners, edges])
        close = (np.abs(twice - np.round(twice)) < 0.02).any(0)
        if not close.any():
            return points
        points[close] = rng.uniform(-2.5, 2.5, close.sum())


def on_the_lattice(rng, count):
    """Points whose coordinates are whole eighths: integers, halves and borders of a 5 x 9 image, exact in binary."""
    return rng.integers(-20, 21, (1, count, 2)) / 8


def channels_first(array):
    return torch.from_numpy(np.moveaxis(array, -1, 0)[None].copy()).requires_grad_()


def channels_last(tensor):
    return np.moveaxis(tensor.detach().numpy()[0], 0, -1)


def grid_sample(image, grid, cotangent, **options):
    """-> the value and the gradients for the image and the grid."""
    image, grid = channels_first(image), torch.from_numpy(grid[None].copy()).requires_grad_()
    value = torch.nn.functional.grid_sample(
        image, grid, mode=options.pop("method"), padding_mode=options.pop("padding"), **options
    )
    value.backward(channels_first(cotangent))
    return channels_last(value), channels_last(image.grad), grid.grad[0].numpy()


def planar_cases():
    rng = np.random.default_rng(0)
    image, cotangent = rng.normal(size=(5, 9, 2)), rng.normal(size=(6, 8, 2))
    grid, lattice = away_from_kinks(rng, (6, 8), (9, 5)), on_the_lattice(rng, 150)
    yield from {"image": image, "grid": grid, "cotangent": cotangent, "lattice": lattice}.items()
    for method, padding, align in itertools.product(METHODS, PADDINGS, (True, False)):
        options = {"method": method, "padding": padding, "align_corners": align}
        name = f"{method}_{padding}_{align}"
        for part, array in zip(
            ("value", "d_image", "d_grid"), grid_sample(image, grid, cotangent, **options), strict=True
        ):
            yield f"{name}_{part}", array
        yield f"{name}_lattice", grid_sample(image, lattice, np.zeros((1, 150, 2)), **options)[0]


def volume_cases():
    rng = np.random.default_rng(1)
    volume, cotangent = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(2, 3, 8, 2))
    grid = away_from_kinks(rng, (2, 3, 8), (5, 4, 3))
    yield from {"volume": volume, "volume_grid": grid, "volume_cotangent": cotangent}.items()
    for padding, align in itertools.product(PADDINGS, (True, False)):
        options = {"method": "bilinear", "padding": padding, "align_corners": align}
        for part, array in zip(
            ("value", "d_volume", "d_grid"), grid_sample(volume, grid, cotangent, **options), strict=True
        ):
            yield f"volume_{padding}_{align}_{part}", array


def affine_grid_cases():
    rng = np.random.default_rng(2)
    for shape in ((4, 7), (1, 5), (6, 1), (3, 4, 5), (2, 1, 3)):
        axes = len(shape)
        theta = torch.from_numpy(rng.normal(size=(1, axes, axes + 1))).requires_grad_()
        cotangent = rng.normal(size=(*shape, axes))
        grid = torch.nn.functional.affine_grid(theta, [1, 1, *shape], align_corners=True)
        grid.backward(torch.from_numpy(cotangent)[None])
        name = "x".join(map(str, shape))
        yield f"{name}_theta", theta.detach().numpy()[0]
        yield f"{name}_cotangent", cotangent
        yield f"{name}_value", grid.detach().numpy()[0]
        yield f"{name}_d_theta", theta.grad[0].numpy()


if __name__ == "__main__":
    np.savez_compressed(HERE / "grid_sample.npz", **dict(itertools.chain(planar_cases(), volume_cases())))
    np.savez_compressed(HERE / "affine_grid.npz", **dict(affine_grid_cases()))
