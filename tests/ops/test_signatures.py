"""Names, order and defaults of what every op takes: a contract, since others call them."""

import inspect

import jax.numpy as jnp
import pytest

from vtnjax import ops

POSITIONAL = {
    "identity_coords": ["shape"],
    "to_pixels": ["coords", "shape"],
    "to_normalised": ["coords", "shape"],
    "displace": ["displacement"],
    "candidate_offsets": ["window"],
    "candidate_probabilities": ["residual", "response"],
    "expected_displacement": ["probabilities"],
    "resize": ["image", "shape"],
    "footprint_coords": ["coords", "samples"],
    "jacobian": ["coords"],
    "folds": ["coords"],
    "affine_grid": ["theta", "shape"],
    "attention_grid": ["scale", "translation", "shape"],
    "projective_grid": ["theta", "shape"],
    "thin_plate_spline_grid": ["targets", "shape"],
    "linear_grid": ["theta", "basis"],
    "sample": ["image", "coords"],
    "sample_channels": ["image", "coords"],
    "sample_volume": ["volume", "coords"],
    "sample_separable": ["image", "x", "y"],
    "grid_sample": ["image", "grid"],
    "deformable_conv": ["image", "kernel", "offsets"],
    "saliency_grid": ["saliency", "shape"],
    "trilinear_attention": ["features"],
    "self_attention": ["features"],
    "attention_marginals": ["attention"],
    "attention_coords": ["attention", "shape"],
    "covariance": ["features"],
    "isqrt_covariance": ["features"],
    "matrix_power_covariance": ["features"],
    "bilinear_pool": ["features"],
    "compact_bilinear_pool": ["features", "hashes", "signs", "size"],
    "kernel_pool": ["features", "hashes", "signs", "size", "coefficients"],
    "mac": ["features"],
    "spoc": ["features"],
    "gem": ["features", "p"],
    "crow": ["features"],
    "rmac": ["features"],
}
OPTIONS = {
    "isqrt_covariance": {"iterations": 5},
    "matrix_power_covariance": {"power": 0.5},
    "bilinear_pool": {"epsilon": 1e-8},
    "compact_bilinear_pool": {"normalise": True},
    "kernel_pool": {"unit": True, "normalise": True},
    "gem": {"epsilon": 1e-6},
    "rmac": {"levels": 3},
    "candidate_probabilities": {"window": inspect.Parameter.empty, "temperature": 10.0, "border": "mask"},
    "expected_displacement": {"window": inspect.Parameter.empty},
    "resize": {"align_corners": True},
    "affine_grid": {"align_corners": True},
    "attention_grid": {"align_corners": True},
    "projective_grid": {"align_corners": True},
    "to_pixels": {"align_corners": True},
    "to_normalised": {"align_corners": True},
    "thin_plate_spline_grid": {"control": None, "align_corners": True},
    "sample": {"method": "bilinear", "padding": "zeros", "fill": 0.0, "backend": "auto"},
    "sample_channels": {"method": "bilinear", "padding": "zeros", "fill": 0.0, "backend": "auto"},
    "sample_volume": {"method": "bilinear", "padding": "zeros", "fill": 0.0, "backend": "auto"},
    "sample_separable": {"padding": "zeros", "fill": 0.0, "backend": "auto"},
    "grid_sample": {
        "method": "bilinear",
        "padding": "zeros",
        "fill": 0.0,
        "backend": "auto",
        "align_corners": inspect.Parameter.empty,
    },
    "deformable_conv": {
        "mask": None,
        "bias": None,
        "stride": 1,
        "padding": "SAME",
        "dilation": 1,
        "feature_group_count": 1,
        "backend": "auto",
    },
    "saliency_grid": {"fwhm": inspect.Parameter.empty, "pad": inspect.Parameter.empty, "align_corners": True},
    "trilinear_attention": {"normalise": ("spatial", "relation"), "sharpness": 7.0},
    "attention_coords": {"dense": 4.0, "iterations": 5, "first": 0.0},
}


def test_every_op_has_its_row():
    assert sorted(POSITIONAL) == ops.__all__


@pytest.mark.parametrize("name", POSITIONAL)
def test_convention_options_are_keyword_only(name):
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    keyword = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == POSITIONAL[name]
    assert keyword == OPTIONS.get(name, {})


def test_grid_sample_asks_for_align_corners():
    with pytest.raises(TypeError, match="align_corners"):
        ops.grid_sample(jnp.ones((4, 5, 6)), jnp.ones((3, 2)))
