"""The operators compiled once for all tests and, in OPERATORS, each with small inputs of one example off the kinks.

LOSSES holds every loss with small batches.
"""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np

from vtnjax import losses, ops

sample = jax.jit(ops.sample, static_argnames=("method", "padding"))
sample_channels = jax.jit(ops.sample_channels, static_argnames=("method", "padding"))
sample_volume = jax.jit(ops.sample_volume, static_argnames=("method", "padding"))
sample_separable = jax.jit(ops.sample_separable, static_argnames=("padding", "backend"))
grid_sample = jax.jit(ops.grid_sample, static_argnames=("method", "padding", "align_corners"))
deformable_conv = jax.jit(ops.deformable_conv, static_argnames=("stride", "padding", "dilation", "feature_group_count"))
affine_grid = jax.jit(ops.affine_grid, static_argnums=1)

GRID = (3, 4)
CONTROL = np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)])
SCATTERED = np.array([(-0.9, -0.8), (0.75, -0.7), (0.1, 0.15), (-0.6, 0.9), (0.8, 0.85)])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def coords(*shape, sizes=(4, 5), seed=1):
    return loops.random_coords(np.random.default_rng(seed), shape, sizes)


def normalised(*shape):
    found = coords(*shape)
    return ((2 * found + 1) / np.array([5, 4])) - 1  # away from the kinks with align_corners=False


IMAGE, VOLUME = normal(4, 5, 2), normal(2, 3, 4, 2)
SALIENCY = np.exp(normal(4, 5))


def sampler(function, **options):
    return functools.partial(function, **options)


SAMPLERS = {
    "bilinear": (ops.sample, (IMAGE, coords(6))),
    "border": (sampler(ops.sample, padding="border"), (IMAGE, coords(6))),
    "reflection": (sampler(ops.sample, padding="reflection"), (IMAGE, coords(6))),
    "nearest": (sampler(ops.sample, method="nearest"), (IMAGE, coords(6))),
    "bicubic": (sampler(ops.sample, method="bicubic", padding="border"), (IMAGE, coords(6))),
    "wrap": (sampler(ops.sample, padding="wrap"), (IMAGE, coords(6))),
    "fill": (lambda image, coords, fill: ops.sample(image, coords, fill=fill), (IMAGE, coords(6), normal(2))),
    "channels": (ops.sample_channels, (IMAGE, coords(3, 2))),
    "rows": (ops.sample_channels, (normal(4, 5, 8), coords(3, 2))),  # groups of several channels
    "volume": (ops.sample_volume, (VOLUME, coords(6, sizes=(2, 3, 4)))),
    "sample matmul": (sampler(ops.sample, padding="reflection", backend="matmul"), (IMAGE, coords(6))),
    "rows matmul": (sampler(ops.sample_channels, backend="matmul"), (normal(4, 5, 8), coords(3, 2))),
    "volume matmul": (sampler(ops.sample_volume, backend="matmul"), (VOLUME, coords(6, sizes=(2, 3, 4)))),
    "lerp": (sampler(ops.sample_separable, backend="lerp"), (IMAGE, coords(4)[:, 0], coords(3)[:, 1])),
    "matmul": (sampler(ops.sample_separable, backend="matmul"), (IMAGE, coords(4)[:, 0], coords(3)[:, 1])),
    "grid_sample": (
        sampler(ops.grid_sample, padding="reflection", align_corners=False),
        (IMAGE, normalised(2, 3)),
    ),
    "deformable": (
        lambda image, kernel, offsets, mask: ops.deformable_conv(image, kernel, offsets, mask=mask, stride=2),
        (IMAGE, normal(2, 3, 2, 3), coords(2, 3, 2, 2, 3) - 2, normal(2, 3, 2, 2, 3, seed=2)),
    ),
    "deformable depthwise": (
        lambda image, kernel, offsets, bias: ops.deformable_conv(
            image, kernel, offsets, bias=bias, stride=2, feature_group_count=2
        ),
        (IMAGE, normal(2, 3, 1, 4), coords(2, 3, 1, 2, 3) - 2, normal(4, seed=2)),
    ),
}

GRIDS = {
    "affine": (lambda theta: ops.affine_grid(theta, GRID), (normal(2, 3),)),
    "affine 3-D": (lambda theta: ops.affine_grid(theta, (2, 3, 4)), (normal(3, 4),)),
    "attention": (lambda scale, shift: ops.attention_grid(scale, shift, GRID), (normal(), normal(2))),
    "projective": (lambda theta: ops.projective_grid(theta, GRID), (np.eye(3) + 0.1 * normal(3, 3),)),
    "projective 8": (lambda theta: ops.projective_grid(theta, GRID), ((np.eye(3) + 0.1 * normal(3, 3)).ravel()[:8],)),
    "tps": (lambda targets: ops.thin_plate_spline_grid(targets, GRID), (CONTROL + 0.1 * normal(16, 2),)),
    "tps control": (
        lambda targets, control: ops.thin_plate_spline_grid(targets, GRID, control=control),
        (SCATTERED + 0.1 * normal(5, 2), SCATTERED),
    ),
    "linear": (ops.linear_grid, (normal(2, 3), normal(3, *GRID))),
    "saliency": (lambda saliency: ops.saliency_grid(saliency, (6, 4), fwhm=3.0, pad=3), (SALIENCY,)),
    "to_pixels": (lambda grid: ops.to_pixels(grid, (4, 5), align_corners=False), (normal(3, 2),)),
    "to_normalised": (lambda grid: ops.to_normalised(grid, (4, 5)), (normal(3, 2),)),
    "footprint": (lambda coords: ops.footprint_coords(coords, (2, 3)), (3 * normal(3, 4, 2),)),
    "displace": (ops.displace, (normal(3, 4, 2, 2),)),
    "jacobian": (ops.jacobian, (normal(3, 4, 2, 2),)),
}

CANDIDATES = {
    "candidates": (sampler(ops.candidate_probabilities, window=(3, 5)), (normal(3, 4, 2, 15), normal(3, 4, 2, seed=1))),
    "expectation": (sampler(ops.expected_displacement, window=(3, 5)), (normal(3, 4, 2, 15),)),
}

ATTENTION = {
    "trilinear": (ops.trilinear_attention, (normal(3, 4, 2),)),
    "self-attention": (ops.self_attention, (normal(3, 4, 2),)),
    "marginals": (lambda attention: jnp.concatenate(ops.attention_marginals(attention)), (SALIENCY,)),
    "inverse CDF": (lambda attention: jnp.concatenate(ops.attention_coords(attention, (3, 4))), (SALIENCY,)),
}

FEATURES = normal(3, 4, 3)
HASHES, SIGNS = np.array([[5, 1, 5], [0, 6, 3], [2, 2, 4]]), np.array([[1, -1, 1], [-1, -1, 1], [1, 1, -1]])
SECOND_ORDER = {
    "covariance": (ops.covariance, (FEATURES,)),
    "isqrt": (ops.isqrt_covariance, (FEATURES,)),
    "power": (ops.matrix_power_covariance, (FEATURES,)),
    "bilinear pool": (ops.bilinear_pool, (FEATURES,)),
    # Of many positions by products, of few by spectra. Where a sketch is 0, its signed root has a kink.
    "compact": (
        lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 7, normalise=False),
        (FEATURES,),
    ),
    "compact by spectra": (
        lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 7, normalise=False),
        (FEATURES[:1, :1],),
    ),
    "kernel pool": (
        lambda x, a: ops.kernel_pool(x, HASHES, SIGNS, 7, a, normalise=False),
        (FEATURES, np.array([0.8, 0.6, 0.3, 0.2])),
    ),
}

POSITIVE = np.abs(FEATURES)
POOLING = {
    "mac": (ops.mac, (FEATURES,)),
    "spoc": (ops.spoc, (FEATURES,)),
    "gem": (ops.gem, (POSITIVE, np.array(2.5))),
    "gem of each channel": (ops.gem, (POSITIVE, np.array([1.5, 3.0, 6.0]))),
    "crow": (ops.crow, (POSITIVE,)),
    "rmac": (ops.rmac, (FEATURES,)),
}

OPERATORS = SAMPLERS | GRIDS | CANDIDATES | ATTENTION | SECOND_ORDER | POOLING

LOSSES = {
    "consistency_loss": (
        lambda *maps: losses.consistency_loss(*maps, margin=1.0),
        [normal(2, 3, 3, 2, seed=seed) for seed in range(3)],
    ),
    "colocalisation_loss": (losses.colocalisation_loss, [normal(3, 2), normal(3, 2, seed=1)]),
    "contrastive_loss": (losses.contrastive_loss, [normal(3, 4), normal(3, 4, seed=1), normal(3, 2, 4)]),
    "triplet_loss": (losses.triplet_loss, [normal(3, 4), normal(3, 4, seed=1), normal(3, 2, 4)]),
    "soft_cross_entropy": (losses.soft_cross_entropy, [normal(3, 2), normal(3, 2, seed=1)]),
    "location_loss": (losses.location_loss, [normal(2, 3, 3), np.arange(18).reshape(2, 3, 3) % 9]),
    "draw_triplets": (lambda labels: losses.draw_triplets(jax.random.key(0), labels), [np.arange(6) % 2]),
}


def arguments(name, dtype=None):
    return tuple(jnp.asarray(argument, dtype) for argument in OPERATORS[name][1])


def batch(name, count, dtype=None):
    """`count` examples that differ, each argument stacked along a new first axis."""
    grow = 1 + 0.001 * np.arange(count)
    return tuple(jnp.asarray(np.multiply.outer(grow, np.asarray(argument)), dtype) for argument in OPERATORS[name][1])
