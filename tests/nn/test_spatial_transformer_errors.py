"""Bad arguments and bad input, each with its sentence."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax.nn import SpatialTransformer

BASIS = np.ones((3, 6, 7), np.float32)


def features_of(image):
    return image.mean((1, 2))


def make(localiser=features_of, features=3, **options):
    return SpatialTransformer(localiser, features, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"warp": "afine"}, "warp must be one of .*'affine'.*, not 'afine'; did you mean 'affine'?"),
        ({"method": "linear"}, "method must be one of .*'bilinear'.*, not 'linear'"),
        ({"padding": "zero"}, "padding must be one of .*, not 'zero'; did you mean 'zeros'?"),
        ({"count": 0}, "features and count must be at least 1, not 3 and 0"),
        ({"features": 0}, "features and count must be at least 1, not 0 and 1"),
        ({"scale": 0.5}, "scale must be None for the warp 'affine', not 0.5: it belongs to the warp 'attention'"),
        ({"warp": "linear"}, "basis must be given for the warp 'linear' and for no other, and the warp is 'linear'"),
        ({"basis": BASIS}, "basis must be given for the warp 'linear' and for no other, and the warp is 'affine'"),
        ({"warp": "linear", "basis": BASIS[0]}, r"basis must have the shape \(m, h, w\), but it is \(6, 7\)"),
        (
            {"warp": "linear", "basis": BASIS, "shape": (6, 8)},
            r"basis must have the shape \(m, 6, 8\), but it is \(3, 6, 7\)",
        ),
        (
            {"warp": "affine3d", "method": "nearest"},
            "method must be 'bilinear' for the warp 'affine3d', not 'nearest'",
        ),
        ({"antialias": 0}, "antialias must be a whole number from 1, and 1 for the warp 'affine3d', not 0"),
        ({"antialias": 1.5}, "antialias must be a whole number from 1, and 1 for the warp 'affine3d', not 1.5"),
        (
            {"warp": "affine3d", "antialias": 2},
            "antialias must be a whole number from 1, and 1 for the warp 'affine3d', not 2",
        ),
        ({"shape": (6,)}, r"shape must be \(height, width\) in pixels, not \(6,\)"),
        ({"warp": "affine3d", "shape": (6, 7)}, r"shape must be \(depth, height, width\) in pixels, not \(6, 7\)"),
        ({"shape": (6.0, 7.0)}, r"shape must be \(height, width\) in pixels, not \(6.0, 7.0\)"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_arguments_are_refused_when_it_is_built(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**options)


@pytest.mark.parametrize(
    ("warp", "shape", "sentence"),
    [
        ("affine", (6, 7, 3), r"image must have the shape \(n, h, w, c\) for the warp 'affine', but it is \(6, 7, 3\)"),
        (
            "affine3d",
            (2, 6, 7, 3),
            r"image must have the shape \(n, d, h, w, c\) for the warp 'affine3d', but it is \(2, 6, 7, 3\)",
        ),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_images_of_another_rank_are_refused(warp, shape, sentence):
    transformer = make(warp=warp)
    for call in (transformer, transformer.predict, lambda image: transformer.warp(image, jnp.zeros((6, 2, 3)))):
        with pytest.raises(ValueError, match=sentence):
            call(jnp.zeros(shape))


@pytest.mark.usefixtures("untyped")
def test_integer_images_are_refused():
    transformer = make(lambda image: jnp.zeros((len(image), 3)))
    with pytest.raises(ValueError, match="image must be floating point, but its dtype is uint8"):
        transformer(jnp.zeros((2, 6, 7, 3), jnp.uint8))


@pytest.mark.usefixtures("untyped")
def test_a_localiser_of_other_features_is_refused():
    with pytest.raises(ValueError, match=r"features must have the shape \(2, 4\), but it is \(2, 3\)"):
        make(features=4)(jnp.zeros((2, 6, 7, 3)))
    with pytest.raises(ValueError, match=r"features must have the shape \(2, 3\), but it is \(2, 3, 1\)"):
        make(lambda image: image.mean((1, 2))[..., None])(jnp.zeros((2, 6, 7, 3)))
    with pytest.raises(ValueError, match=r"features must have the shape \(2, 3\), but it is \(1, 3\)"):
        make(None)(jnp.zeros((2, 6, 7, 3)), features=jnp.zeros((1, 3)))


def test_features_are_given_exactly_when_there_is_no_localiser():
    image, features = jnp.zeros((2, 6, 7, 3)), jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="features must be None for a SpatialTransformer that has a localiser"):
        make()(image, features=features)
    with pytest.raises(
        ValueError, match="features must be given to a SpatialTransformer that has no localiser, not None"
    ):
        make(None)(image)
    with pytest.raises(ValueError, match="features must be None for a SpatialTransformer that has a localiser"):
        make().predict(features=features)
    with pytest.raises(
        ValueError, match="features must be given to a SpatialTransformer that has no localiser, not None"
    ):
        make(None).predict(image)
    with pytest.raises(ValueError, match="image must be given to a SpatialTransformer that has a localiser, not None"):
        make().predict()


@pytest.mark.parametrize(
    ("options", "shape", "wanted"),
    [
        ({}, (2, 3, 2), (2, 2, 3)),
        ({}, (1, 2, 3), (2, 2, 3)),
        ({}, (2, 6), (2, 2, 3)),
        ({}, (2, 1, 2, 3), (2, 2, 3)),
        ({"count": 2}, (2, 2, 3), (2, 2, 2, 3)),
        ({"count": 2}, (2, 3, 2, 3), (2, 2, 2, 3)),
        ({"warp": "attention", "scale": 0.5}, (2, 3), (2, 2)),
        ({"warp": "tps"}, (2, 32), (2, 16, 2)),
        ({"warp": "linear", "basis": BASIS}, (2, 3, 2), (2, 2, 3)),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_a_given_theta_of_another_shape_is_refused(options, shape, wanted):
    sentence = re.escape(f"theta must have the shape {wanted}, but it is {shape}")
    with pytest.raises(ValueError, match=sentence):
        make(**options).warp(jnp.zeros((2, 6, 7, 3)), jnp.zeros(shape))


@pytest.mark.usefixtures("untyped")
def test_features_of_another_shape_are_refused_without_an_image_too():
    for shape in ((2, 4), (3,), (2, 3, 1), ()):
        sentence = re.escape(f"features must have the shape (n, 3), but it is {shape}")
        with pytest.raises(ValueError, match=sentence):
            make(None).predict(features=jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"features must have the shape \(1, 3\), but it is \(2, 3\)"):
        make(None).predict(jnp.zeros((1, 6, 7, 3)), jnp.zeros((2, 3)))


def test_options_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        SpatialTransformer(features_of, 3, "affine", rngs=nnx.Rngs(0))
