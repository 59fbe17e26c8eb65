"""Pure functions of one example: coordinates, grids, samplers and the like. Batch them with `jax.vmap`."""

from vtnjax.ops.attention import attention_coords, attention_marginals, self_attention, trilinear_attention
from vtnjax.ops.candidates import candidate_offsets, candidate_probabilities, expected_displacement
from vtnjax.ops.coords import displace, footprint_coords, identity_coords, to_normalised, to_pixels
from vtnjax.ops.covariance import (
    bilinear_pool,
    compact_bilinear_pool,
    covariance,
    isqrt_covariance,
    kernel_pool,
    matrix_power_covariance,
)
from vtnjax.ops.deform import deformable_conv
from vtnjax.ops.grids import affine_grid, attention_grid, linear_grid, projective_grid, thin_plate_spline_grid
from vtnjax.ops.jacobian import folds, jacobian
from vtnjax.ops.pooling import crow, gem, mac, rmac, spoc
from vtnjax.ops.resizing import resize
from vtnjax.ops.saliency import saliency_grid
from vtnjax.ops.sampling import grid_sample, sample, sample_channels, sample_separable, sample_volume

__all__ = [
    "affine_grid",
    "attention_coords",
    "attention_grid",
    "attention_marginals",
    "bilinear_pool",
    "candidate_offsets",
    "candidate_probabilities",
    "compact_bilinear_pool",
    "covariance",
    "crow",
    "deformable_conv",
    "displace",
    "expected_displacement",
    "folds",
    "footprint_coords",
    "gem",
    "grid_sample",
    "identity_coords",
    "isqrt_covariance",
    "jacobian",
    "kernel_pool",
    "linear_grid",
    "mac",
    "matrix_power_covariance",
    "projective_grid",
    "resize",
    "rmac",
    "saliency_grid",
    "sample",
    "sample_channels",
    "sample_separable",
    "sample_volume",
    "self_attention",
    "spoc",
    "thin_plate_spline_grid",
    "to_normalised",
    "to_pixels",
    "trilinear_attention",
]
