import re

import jax
import jax.numpy as jnp
import pytest

from vtnjax import ops

pytestmark = pytest.mark.usefixtures("untyped")

IMAGE, COORDS = jnp.ones((4, 5, 6)), jnp.ones((3, 2))
VOLUME, PLACES = jnp.ones((2, 3, 4, 5)), jnp.ones((3, 3))
INTS = jnp.ones((4, 5, 6), jnp.int32)
KERNEL, OFFSETS = jnp.ones((3, 2, 6, 7)), jnp.zeros((4, 5, 2, 3, 2, 2))


def convolve(image=IMAGE, kernel=KERNEL, offsets=OFFSETS, **options):
    return ops.deformable_conv(image, kernel, offsets, **options)


def zoom(saliency=IMAGE[..., 0], shape=(4, 5), fwhm=3.0, pad=2):
    return ops.saliency_grid(saliency, shape, fwhm=fwhm, pad=pad)


def attend(attention=IMAGE[..., 0], shape=(4, 5), **options):
    return ops.attention_coords(attention, shape, **options)


# name: (the call, words its sentence must hold: the argument, and what it was)
BAD = {
    "identity of rank 1": (lambda: ops.identity_coords((3,)), "shape", "(3,)"),
    "identity of rank 4": (lambda: ops.identity_coords((1, 2, 3, 4)), "shape", "(1, 2, 3, 4)"),
    "identity of negative size": (lambda: ops.identity_coords((-1, 4)), "shape", "-1"),
    "resize of integers": (lambda: ops.resize(INTS, (2, 2)), "image", "int32"),
    "resize of a batch": (lambda: ops.resize(VOLUME, (2, 2)), "image", "(2, 3, 4, 5)", "jax.vmap"),
    "resize of nothing": (lambda: ops.resize(IMAGE[:0], (2, 2)), "image", "at least one pixel", "(0, 5, 6)"),
    "resize to a volume": (lambda: ops.resize(IMAGE, (2, 2, 6)), "shape", "(2, 2, 6)"),
    "resize to less than nothing": (lambda: ops.resize(IMAGE, (2, -1)), "shape", "-1"),
    "to_pixels of integers": (lambda: ops.to_pixels(jnp.ones((3, 2), int), (4, 5)), "coords", "int32"),
    "to_pixels of xyz": (lambda: ops.to_pixels(PLACES, (4, 5)), "coords", "3"),
    "to_pixels of xy in a volume": (lambda: ops.to_pixels(COORDS, (2, 4, 5)), "coords", "2"),
    "to_pixels of rank 0": (lambda: ops.to_pixels(jnp.ones(()), (4, 5)), "coords", "()"),
    "to_pixels of rank 1": (lambda: ops.to_pixels(COORDS, (4,)), "shape", "(4,)"),
    "to_normalised of integers": (lambda: ops.to_normalised(jnp.ones((3, 2), int), (4, 5)), "coords", "int32"),
    "to_normalised of xyz": (lambda: ops.to_normalised(PLACES, (4, 5)), "coords", "3"),
    "to_normalised of rank 4": (lambda: ops.to_normalised(COORDS, (1, 2, 3, 4)), "shape", "(1, 2, 3, 4)"),
    "displace by xyz": (lambda: ops.displace(jnp.ones((4, 5, 3))), "displacement", "(4, 5, 3)"),
    "displace of rank 2": (lambda: ops.displace(jnp.ones((4, 2))), "displacement", "(4, 2)"),
    "displace by integers": (lambda: ops.displace(jnp.ones((4, 5, 2), int)), "displacement", "int32"),
    "affine 3x3": (lambda: ops.affine_grid(jnp.eye(3), (4, 5)), "theta", "(3, 3)"),
    "affine flat": (lambda: ops.affine_grid(jnp.ones(6), (4, 5)), "theta", "(6,)"),
    "affine 2x3 of a volume": (lambda: ops.affine_grid(jnp.eye(2, 3), (2, 4, 5)), "shape", "(2, 4, 5)"),
    "affine 3x4 of an image": (lambda: ops.affine_grid(jnp.eye(3, 4), (4, 5)), "shape", "(4, 5)"),
    "affine of integers": (lambda: ops.affine_grid(jnp.ones((2, 3), int), (4, 5)), "theta", "int32"),
    "affine of rank 1": (lambda: ops.affine_grid(jnp.eye(2, 3), (4,)), "shape", "(4,)"),
    "affine of negative size": (lambda: ops.affine_grid(jnp.eye(2, 3), (4, -5)), "shape", "-5"),
    "attention of 3 scales": (lambda: ops.attention_grid(jnp.ones(3), jnp.ones(2), (4, 5)), "scale", "(3,)"),
    "attention of 3 shifts": (lambda: ops.attention_grid(jnp.ones(()), jnp.ones(3), (4, 5)), "translation", "(3,)"),
    "attention of a scalar shift": (
        lambda: ops.attention_grid(jnp.ones(()), jnp.ones(()), (4, 5)),
        *("translation", "()"),
    ),
    "attention of a volume": (lambda: ops.attention_grid(jnp.ones(()), jnp.ones(2), (2, 4, 5)), "shape", "(2, 4, 5)"),
    "projective 2x3": (lambda: ops.projective_grid(jnp.eye(2, 3), (4, 5)), "theta", "(2, 3)"),
    "projective of 9": (lambda: ops.projective_grid(jnp.ones(9), (4, 5)), "theta", "(9,)"),
    "projective of a volume": (lambda: ops.projective_grid(jnp.eye(3), (2, 4, 5)), "shape", "(2, 4, 5)"),
    "projective of integers": (lambda: ops.projective_grid(jnp.ones((3, 3), int), (4, 5)), "theta", "int32"),
    "tps of xyz": (lambda: ops.thin_plate_spline_grid(jnp.ones((16, 3)), (4, 5)), "targets", "(16, 3)"),
    "tps of 7 targets for 16": (lambda: ops.thin_plate_spline_grid(jnp.ones((7, 2)), (4, 5)), "targets", "7"),
    "tps of unequal counts": (
        lambda: ops.thin_plate_spline_grid(jnp.ones((7, 2)), (4, 5), control=jnp.ones((6, 2))),
        *("control", "(6, 2)"),
    ),
    "tps of xyz control": (
        lambda: ops.thin_plate_spline_grid(jnp.ones((7, 2)), (4, 5), control=jnp.ones((7, 3))),
        *("control", "(7, 3)"),
    ),
    "tps of a volume": (lambda: ops.thin_plate_spline_grid(jnp.ones((16, 2)), (2, 4, 5)), "shape", "(2, 4, 5)"),
    "linear 3 rows": (lambda: ops.linear_grid(jnp.ones((3, 4)), jnp.ones((4, 2, 2))), "theta", "(3, 4)"),
    "linear of unequal sizes": (lambda: ops.linear_grid(jnp.ones((2, 4)), jnp.ones((5, 2, 2))), "basis", "(5, 2, 2)"),
    "linear of flat basis": (lambda: ops.linear_grid(jnp.ones((2, 4)), jnp.ones((4, 2))), "basis", "(4, 2)"),
    "sample of rank 2": (lambda: ops.sample(IMAGE[..., 0], COORDS), "image", "(4, 5)"),
    "sample of a batch": (lambda: ops.sample(IMAGE[None], COORDS), "image", "(1, 4, 5, 6)"),
    "sample of integers": (lambda: ops.sample(INTS, COORDS), "image", "int32"),
    "sample of bytes": (lambda: ops.sample(INTS.astype(jnp.uint8), COORDS), "image", "uint8"),
    "sample at xyz": (lambda: ops.sample(IMAGE, PLACES), "coords", "(3, 3)"),
    "sample at integers": (lambda: ops.sample(IMAGE, jnp.ones((3, 2), int)), "coords", "int32"),
    "sample at rank 0": (lambda: ops.sample(IMAGE, jnp.ones(())), "coords", "()"),
    "sample by a misspelt method": (lambda: ops.sample(IMAGE, COORDS, method="bilnear"), "method", "bilnear"),
    "sample of complex numbers": (lambda: ops.sample(IMAGE.astype(complex), COORDS), "complex64", "channels"),
    "volume of complex numbers": (lambda: ops.sample_volume(VOLUME.astype(complex), PLACES), "complex64", "channels"),
    "grid_sample of complex numbers": (
        lambda: ops.grid_sample(IMAGE.astype(complex), COORDS, align_corners=True),
        *("complex64", "channels"),
    ),
    "sample with fill and another padding": (
        lambda: ops.sample(IMAGE, COORDS, padding="border", fill=1.0),
        *("fill", "border"),
    ),
    "sample with two fills for six channels": (
        lambda: ops.sample(IMAGE, COORDS, fill=jnp.ones(2)),
        *("fill", "6", "(2,)"),
    ),
    "sample with a complex fill": (lambda: ops.sample(IMAGE, COORDS, fill=1j), "fill", "complex64"),
    "sample with no fill": (lambda: ops.sample(IMAGE, COORDS, fill=None), "fill", "None"),
    "sample with a word for a fill": (lambda: ops.sample(IMAGE, COORDS, fill="white"), "fill", "white"),
    "separable with fill and another padding": (
        lambda: ops.sample_separable(IMAGE, jnp.ones(3), jnp.ones(3), padding="wrap", fill=jnp.zeros(6)),
        *("fill", "wrap"),
    ),
    "volume by bicubic": (lambda: ops.sample_volume(VOLUME, PLACES, method="bicubic"), "method", "bicubic"),
    "sample with unknown padding": (lambda: ops.sample(IMAGE, COORDS, padding="tile"), "padding", "tile"),
    "channels that 4 does not divide": (lambda: ops.sample_channels(IMAGE, jnp.ones((3, 4, 2))), "4", "6"),
    "channels of no group": (lambda: ops.sample_channels(IMAGE, jnp.ones(2)), "coords", "(2,)"),
    "channels at xyz": (lambda: ops.sample_channels(IMAGE, jnp.ones((3, 2, 3))), "coords", "(3, 2, 3)"),
    "channels of rank 2": (lambda: ops.sample_channels(IMAGE[0], jnp.ones((3, 2, 2))), "image", "(5, 6)"),
    "channels by no method": (
        lambda: ops.sample_channels(IMAGE, jnp.ones((3, 2, 2)), method="linear"),
        *("method", "linear"),
    ),
    "channels with no padding": (
        lambda: ops.sample_channels(IMAGE, jnp.ones((3, 2, 2)), padding="edge"),
        *("padding", "edge"),
    ),
    "volume of rank 3": (lambda: ops.sample_volume(IMAGE, PLACES), "volume", "(4, 5, 6)"),
    "volume of integers": (lambda: ops.sample_volume(VOLUME.astype(int), PLACES), "volume", "int32"),
    "volume at xy": (lambda: ops.sample_volume(VOLUME, COORDS), "coords", "(3, 2)"),
    "volume with unknown padding": (lambda: ops.sample_volume(VOLUME, PLACES, padding="zero"), "padding", "zero"),
    "separable of rank 4": (lambda: ops.sample_separable(VOLUME, jnp.ones(3), jnp.ones(3)), "image", "(2, 3, 4, 5)"),
    "separable x of rank 2": (lambda: ops.sample_separable(IMAGE, COORDS, jnp.ones(3)), "x", "(3, 2)"),
    "separable y of rank 0": (lambda: ops.sample_separable(IMAGE, jnp.ones(3), jnp.ones(())), "y", "()"),
    "separable y of integers": (
        lambda: ops.sample_separable(IMAGE, jnp.ones(3), jnp.ones(3, int)),
        *("y", "int32"),
    ),
    "separable on no backend": (
        lambda: ops.sample_separable(IMAGE, jnp.ones(3), jnp.ones(3), backend="fast"),
        *("backend", "fast"),
    ),
    "separable with unknown padding": (
        lambda: ops.sample_separable(IMAGE, jnp.ones(3), jnp.ones(3), padding="tile"),
        *("padding", "tile"),
    ),
    "grid_sample of a batch": (
        lambda: ops.grid_sample(IMAGE[None, None], COORDS, align_corners=True),
        "image",
        "(1, 1, 4, 5, 6)",
    ),
    "grid_sample of a batch of images": (
        lambda: ops.grid_sample(jnp.ones((8, 4, 5, 3)), jnp.ones((8, 6, 7, 2)), align_corners=True),
        *("grid", "jax.vmap", "(8, 6, 7, 2)", "(8, 4, 5, 3)"),
    ),
    "volume of a batch of images": (lambda: ops.sample_volume(VOLUME, COORDS), "coords", "jax.vmap"),
    "grid_sample of a volume without channels": (
        lambda: ops.grid_sample(VOLUME[..., 0], PLACES, align_corners=True),
        *("grid", "(d, h, w, c)"),
    ),
    "grid_sample of a volume by bicubic": (
        lambda: ops.grid_sample(VOLUME, PLACES, align_corners=True, method="bicubic"),
        *("method", "bicubic"),
    ),
    "grid_sample at xyz": (lambda: ops.grid_sample(IMAGE, PLACES, align_corners=True), "grid", "(3, 3)"),
    "grid_sample at integers": (
        lambda: ops.grid_sample(IMAGE, jnp.ones((3, 2), int), align_corners=True),
        *("grid", "int32"),
    ),
    "grid_sample by no method": (
        lambda: ops.grid_sample(IMAGE, COORDS, align_corners=False, method="area"),
        *("method", "area"),
    ),
    "grid_sample with no padding": (
        lambda: ops.grid_sample(IMAGE, COORDS, align_corners=False, padding="reflect"),
        *("padding", "reflect"),
    ),
    "deformable of a batch": (lambda: convolve(IMAGE[None]), "image", "(1, 4, 5, 6)"),
    "deformable of integers": (lambda: convolve(INTS), "image", "int32"),
    "deformable of no pixels": (lambda: convolve(IMAGE[:0]), "image", "(0, 5, 6)"),
    "deformable by an integer kernel": (lambda: convolve(kernel=KERNEL.astype(int)), "kernel", "int32"),
    "deformable by a kernel of rank 3": (lambda: convolve(kernel=KERNEL[0]), "kernel", "(2, 6, 7)"),
    "deformable by a kernel of other channels": (
        lambda: convolve(kernel=KERNEL[:, :, 1:]),
        *("kernel", "6", "(3, 2, 5, 7)"),
    ),
    "deformable by a kernel of no rows": (lambda: convolve(kernel=KERNEL[:0]), "kernel", "(0, 2, 6, 7)"),
    "deformable by integer offsets": (lambda: convolve(offsets=OFFSETS.astype(int)), "offsets", "int32"),
    "deformable by offsets of rank 5": (
        lambda: convolve(offsets=OFFSETS[..., 0]),
        *("offsets", "(4, 5, groups, 3, 2, 2)", "(4, 5, 2, 3, 2)"),
    ),
    "jacobian of points": (lambda: ops.jacobian(COORDS[0]), "coords", "(h, w, ..., 2) or (d, h, w, ..., 3)"),
    "jacobian of a number": (lambda: ops.jacobian(1.0), "coords", "()"),
    "jacobian of integers": (lambda: ops.jacobian(jnp.zeros((4, 5, 2), int)), "coords", "int32"),
    "folds in a volume": (lambda: ops.folds(jnp.zeros((3, 4, 5, 3))), "coords", "(h, w, ..., 2)", "(3, 4, 5, 3)"),
    "footprint of points": (lambda: ops.footprint_coords(COORDS[0], 2), "coords", "(h, w, 2)"),
    "footprint in a volume": (lambda: ops.footprint_coords(jnp.zeros((4, 5, 3)), 2), "coords", "(4, 5, 3)"),
    "footprint of no samples": (lambda: ops.footprint_coords(jnp.zeros((4, 5, 2)), 0), "samples", "0"),
    "footprint of half samples": (lambda: ops.footprint_coords(jnp.zeros((4, 5, 2)), 1.5), "samples", "1.5"),
    "deformable by offsets for another kernel": (
        lambda: convolve(offsets=jnp.swapaxes(OFFSETS, 3, 4)),
        *("offsets", "(4, 5, groups, 3, 2, 2)", "(4, 5, 2, 2, 3, 2)"),
    ),
    "deformable by offsets for another stride": (
        lambda: convolve(stride=2),
        *("offsets", "(2, 3, groups, 3, 2, 2)", "(4, 5, 2, 3, 2, 2)"),
    ),
    "deformable by xyz": (
        lambda: convolve(offsets=jnp.zeros((4, 5, 2, 3, 2, 3))),
        *("offsets", "(4, 5, 2, 3, 2, 3)"),
    ),
    "deformable of groups that do not divide": (
        lambda: convolve(offsets=jnp.zeros((4, 5, 4, 3, 2, 2))),
        *("offsets", "4", "6"),
    ),
    "deformable of no groups": (lambda: convolve(offsets=OFFSETS[:, :, :0]), "offsets", "0"),
    "deformable with a mask of other groups": (
        lambda: convolve(mask=jnp.ones((4, 5, 3, 3, 2))),
        *("mask", "(4, 5, 2, 3, 2)", "(4, 5, 3, 3, 2)"),
    ),
    "deformable with an integer mask": (lambda: convolve(mask=jnp.ones((4, 5, 2, 3, 2), int)), "mask", "int32"),
    "deformable by a whole kernel in two feature groups": (
        lambda: convolve(kernel=KERNEL[..., :6], feature_group_count=2),
        *("kernel", "(kh, kw, 3, c') for the image's 6 channels in 2 feature groups", "(3, 2, 6, 6)"),
    ),
    "deformable in feature groups that do not divide the channels": (
        lambda: convolve(kernel=KERNEL[:, :, :1, :4], feature_group_count=4),
        *("feature_group_count", "6 channels", "not 4"),
    ),
    "deformable in feature groups that do not divide the outputs": (
        lambda: convolve(kernel=KERNEL[:, :, :3], feature_group_count=2),
        *("feature_group_count", "7 that go out", "not 2"),
    ),
    "deformable in no feature groups": (lambda: convolve(feature_group_count=0), "feature_group_count", "not 0"),
    "deformable in half a feature group": (lambda: convolve(feature_group_count=0.5), "feature_group_count", "not 0.5"),
    "deformable with an integer bias": (lambda: convolve(bias=jnp.ones(7, int)), "bias", "int32"),
    "deformable with a bias of other outputs": (lambda: convolve(bias=jnp.ones(6)), "bias", "(7,)", "(6,)"),
    "deformable with a bias of rank 0": (lambda: convolve(bias=1.0), "bias", "(7,)", "()"),
    "deformable at a stride of 0": (lambda: convolve(stride=0), "stride", "0"),
    "deformable at half a stride": (lambda: convolve(stride=0.5), "stride", "0.5"),
    "deformable at three strides": (lambda: convolve(stride=(1, 2, 3)), "stride", "(1, 2, 3)"),
    "deformable at a dilation of 0": (lambda: convolve(dilation=(1, 0)), "dilation", "(1, 0)"),
    "deformable with unknown padding": (lambda: convolve(padding="same"), "padding", "same"),
    "deformable with one padding": (lambda: convolve(padding=1), "padding", "1"),
    "deformable with flat padding": (lambda: convolve(padding=(1, 1)), "padding", "(1, 1)"),
    "deformable with less than no padding": (
        lambda: convolve(padding=((0, 0), (-1, 0))),
        *("padding", "((0, 0), (-1, 0))"),
    ),
    "saliency of rank 3": (lambda: zoom(IMAGE), "saliency", "(4, 5, 6)"),
    "saliency of integers": (lambda: zoom(INTS[..., 0]), "saliency", "int32"),
    "saliency of no cells": (lambda: zoom(IMAGE[:0, :, 0]), "saliency", "(0, 5)"),
    "saliency for a volume": (lambda: zoom(shape=(2, 4, 5)), "shape", "(2, 4, 5)"),
    "saliency with no width": (lambda: zoom(fwhm=0.0), "fwhm", "0.0"),
    "saliency with a width that is no number": (lambda: zoom(fwhm=float("nan")), "fwhm", "nan"),
    "saliency with half a cell of padding": (lambda: zoom(pad=0.5), "pad", "0.5"),
    "saliency with less than no padding": (lambda: zoom(pad=-1), "pad", "-1"),
    "trilinear of rank 2": (lambda: ops.trilinear_attention(IMAGE[0]), "features", "(5, 6)"),
    "trilinear of integers": (lambda: ops.trilinear_attention(INTS), "features", "int32"),
    "trilinear of no positions": (lambda: ops.trilinear_attention(IMAGE[:0]), "features", "(0, 5, 6)"),
    "trilinear of one string": (lambda: ops.trilinear_attention(IMAGE, normalise="spatial"), "normalise", "'spatial'"),
    "trilinear of an unknown softmax": (
        lambda: ops.trilinear_attention(IMAGE, normalise=("spacial",)),
        *("normalise", "'spacial'", "'spatial'"),
    ),
    "trilinear of no sharpness": (lambda: ops.trilinear_attention(IMAGE, sharpness=0.0), "sharpness", "0.0"),
    "self-attention of a batch": (lambda: ops.self_attention(IMAGE[None]), "features", "(1, 4, 5, 6)"),
    "marginals of rank 3": (lambda: ops.attention_marginals(IMAGE), "attention", "(4, 5, 6)"),
    "marginals of integers": (lambda: ops.attention_marginals(INTS[..., 0]), "attention", "int32"),
    "marginals of no cells": (lambda: ops.attention_marginals(IMAGE[:, :0, 0]), "attention", "(4, 0)"),
    "attention for a volume": (lambda: attend(shape=(2, 4, 5)), "shape", "(2, 4, 5)"),
    "attention below its mean": (lambda: attend(dense=0.5), "dense", "0.5"),
    "attention not a number of times": (lambda: attend(dense=float("nan")), "dense", "nan"),
    "attention from below 0": (lambda: attend(first=-0.5), "first", "-0.5"),
    "attention from no number": (lambda: attend(first=float("nan")), "first", "nan"),
    "to_pixels of a shape with channels": (
        lambda: ops.to_pixels(COORDS, (4, 5, 6)),
        *("shape", "(4, 5, 6)", "channels", "image.shape[:2]"),
    ),
    "to_normalised of a shape with channels": (lambda: ops.to_normalised(COORDS, (4, 5, 6)), "(4, 5, 6)", "channels"),
    "to_pixels of a shape with batch and channels": (
        lambda: ops.to_pixels(COORDS, (2, 4, 5, 6)),
        *("shape", "(2, 4, 5, 6)", "channels", "batch"),
    ),
    "affine of a shape with channels": (lambda: ops.affine_grid(jnp.eye(2, 3), (4, 5, 6)), "(4, 5, 6)", "channels"),
    "tps of control points in pixels": (
        lambda: ops.thin_plate_spline_grid(
            jnp.ones((4, 2)), (28, 28), control=27 * jnp.indices((2, 2)).reshape(2, 4).T
        ),
        *("control", "normalised", "pixels", "0", "27", "ops.to_normalised"),
    ),
    "attention clipped half a time": (lambda: attend(iterations=0.5), "iterations", "0.5"),
    "attention clipped less than never": (lambda: attend(iterations=-1), "iterations", "-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_convention_bad_input_is_a_value_error_in_a_sentence(case):
    call, *words = BAD[case]
    with pytest.raises(ValueError, match=r"\w+ \w+") as raised:
        call()
    sentence = str(raised.value)
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}", sentence), f"{word!r} is not in {sentence!r}"
    assert len(sentence.split()) >= 6
    assert "\n" not in sentence.strip()


STATIC = {
    "identity_coords": (ops.identity_coords, "shape"),
    "to_pixels": (lambda shape: ops.to_pixels(COORDS, shape), "shape"),
    "affine_grid": (lambda shape: ops.affine_grid(jnp.eye(2, 3), shape), "shape"),
    "thin_plate_spline_grid": (lambda shape: ops.thin_plate_spline_grid(jnp.ones((16, 2)), shape), "shape"),
    "saliency_grid": (lambda shape: zoom(shape=shape), "shape"),
    "attention_coords": (lambda shape: attend(shape=shape), "shape"),
    "footprint_coords": (lambda samples: ops.footprint_coords(jnp.zeros((4, 5, 2)), samples), "samples"),
}


@pytest.mark.parametrize("sizes", [(4, 5), jnp.array([4, 5])], ids=["numbers", "an array"])
@pytest.mark.parametrize("name", STATIC)
def test_a_traced_shape_must_be_static(name, sizes):
    call, argument = STATIC[name]
    with pytest.raises(ValueError, match=f"{argument} must be static, .*static_argnames"):
        jax.jit(call)(sizes)


def test_bad_input_is_refused_under_jit_too():
    with pytest.raises(ValueError, match="coords"):
        jax.jit(ops.sample)(IMAGE, PLACES)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_wrong_name_is_answered_with_the_right_ones(method, padding):
    with pytest.raises(ValueError, match=method):
        ops.sample(IMAGE, COORDS, method="cubic")
    with pytest.raises(ValueError, match=padding):
        ops.sample(IMAGE, COORDS, padding="constant")
