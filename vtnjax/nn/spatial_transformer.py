"""The spatial transformer: localiser, grid generator and sampler in one module (STN section 3)."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import as_array, check_floating, check_sizes, widest
from vtnjax._checks import check_choice
from vtnjax.ops.grids import CONTROL_POINTS
from vtnjax.ops.sampling import METHODS, PADDINGS


class _Warp(NamedTuple):
    identity: np.ndarray  # theta
    grid: Callable[..., Array]  # of theta, the output's shape and align_corners


def _shifted_grid(theta, shape, *, scale=1.0, align_corners):
    return ops.attention_grid(jnp.asarray(scale, theta.dtype), theta, shape, align_corners=align_corners)


def _window_grid(theta, shape, *, align_corners):
    return ops.attention_grid(theta[0], theta[1:], shape, align_corners=align_corners)


_WARPS = {
    "translation": _Warp(np.zeros(2), _shifted_grid),
    "attention": _Warp(np.array([1.0, 0, 0]), _window_grid),
    "affine": _Warp(np.eye(2, 3), ops.affine_grid),
    "affine3d": _Warp(np.eye(3, 4), ops.affine_grid),
    "projective": _Warp(np.eye(3).ravel()[:8], ops.projective_grid),
    "tps": _Warp(CONTROL_POINTS, ops.thin_plate_spline_grid),
}
WARPS = (*_WARPS, "linear")


class SpatialTransformer(nnx.Module):
    """Warp each image of a batch as a localiser says, which learns it from the task's loss alone.

    The last localisation layer is part of this module: a linear layer with zero kernel and the identity warp as its
    bias (STN A.4), so that an untrained transformer passes its input on. theta and the coordinates are float32 whatever
    the image's dtype is. theta acts on normalised coordinates, in which every image is a square from -1 to 1: where an
    image is not square, a rotation matrix shears it (`ops.affine_grid` has the matrix that turns it).

    Calling it with images (n, h, w, c), or volumes (n, d, h, w, c) for "affine3d", returns `(y, out)`: `y` is
    (n, h', w', c), a tuple of `count` such arrays if count > 1; `out["theta"]` holds the parameters, (n, ...) and
    `out["coords"]` the pixel coordinates (n, h', w', 2) that were read, with antialias > 1 the middles of what was
    averaged, with an axis (n, count, ...) if count > 1. `predict` gives theta alone, and `warp` warps by a given theta.

    Attributes:
        localiser: the localiser, or None.
        head: the last localisation layer. To start at another warp, give it another bias: `head.bias =
            nnx.Param(theta)`, flat, of several warps one after the other.

    Examples:
        >>> localiser = nnx.Sequential(lambda x: x.reshape(len(x), -1), nnx.Linear(25, 8, rngs=nnx.Rngs(0)), nnx.relu)
        >>> transformer = nn.SpatialTransformer(localiser, 8, rngs=nnx.Rngs(0))
        >>> y, out = transformer(jnp.arange(50.0).reshape(2, 5, 5, 1))
        >>> out["theta"][0].tolist()  # the identity
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        >>> y.shape, y[0, 0, :, 0].tolist()  # untrained, it gives the images themselves
        ((2, 5, 5, 1), [0.0, 1.0, 2.0, 3.0, 4.0])
    """

    def __init__(
        self,
        localiser: Callable[..., Array] | None,
        features: int,
        *,
        warp: str = "affine",
        shape: Sequence[int] | None = None,
        count: int = 1,
        scale: float | None = None,
        basis: ArrayLike | nnx.Param | None = None,
        method: str = "bilinear",
        padding: str = "zeros",
        antialias: int = 1,
        align_corners: bool = True,
        rngs: nnx.Rngs,
    ):
        """Make a transformer that starts at the identity.

        Args:
            localiser: any module from images (n, h, w, c) to features (n, features). None: then the features are given
                in the call, which is how a network shares its layers with a transformer.
            features: how many features the localiser gives.
            warp: "translation": theta is (tx, ty); "attention": (s, tx, ty), or (tx, ty) with a fixed `scale`;
                "affine": (2, 3) row by row; "affine3d": (3, 4) on volumes; "projective": 8 parameters; "tps": the
                targets (16, 2) of a 4 x 4 grid of control points; "linear": (2, m), the grid M_theta B on `basis`.
            shape: (h', w') of the output, or (d', h', w'); by default the input's.
            count: how many warps of the same input one localiser predicts.
            scale: the fixed window size of "attention", as a fraction of the image.
            basis: (m, h', w') of "linear", normalised; learned if it is an `nnx.Param`.
            method: "bilinear", "nearest" or "bicubic", as `ops.sample` reads. "nearest" has no gradient to the
                coordinates, so a localiser learns nothing through it, which a warning says.
            padding: what is read outside the image, as `ops.sample` has it: "zeros", "border", "reflection" or "wrap".
            antialias: along each axis, how many points of what an output pixel covers are read and averaged, for warps
                that shrink (`ops.footprint_coords`); with 1, the paper's, one point is read. Not for "affine3d".
            align_corners: whether -1 and 1 are the middles of the outer pixels or, if False, their outer edges, of the
                grid and of what is read (`ops.affine_grid`). False is PyTorch's default, and reflection then mirrors
                about the outer edges of the border pixels, as in PyTorch's `grid_sample`.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a name is wrong, or an argument is missing for the warp or does not belong to it.
        """
        check_choice("method", method, METHODS)
        check_choice("padding", padding, PADDINGS)
        if features < 1 or count < 1:
            raise ValueError(f"features and count must be at least 1, not {features} and {count}")
        _check_warp(warp, scale, basis, method, antialias)
        if method == "nearest" and localiser is not None:
            warnings.warn(
                "method='nearest' has no gradient to the coordinates: the localiser never learns", stacklevel=2
            )
        self.localiser, self.antialias, self.align_corners = localiser, antialias, align_corners
        self.kind, self.count, self.scale, self.method, self.padding = warp, count, scale, method, padding
        self.shape = None if shape is None else check_sizes("shape", shape, (self._axes,))
        if basis is not None:
            self.basis = basis if isinstance(basis, nnx.Param) else nnx.Variable(jnp.asarray(basis))
        identity = self._row.identity if basis is None else self._nearest_to_identity(basis)
        self.theta_shape, self.features = identity.shape, features
        self.head = _identity_head(features, identity, count, rngs)

    def __call__(
        self, image: Float[Array, "n *sizes c"], features: Float[Array, "n f"] | None = None
    ) -> tuple[Array | tuple[Array, ...], dict[str, Array]]:
        """Warp a batch; see the class. `features` (n, f) are given exactly when there is no localiser.

        It is `warp` by what `predict` says.
        """
        return self._warp_each(image, self._predict_each(image, features))

    def predict(
        self, image: Float[Array, "n *sizes c"] | None = None, features: Float[Array, "n f"] | None = None
    ) -> Float[Array, "n *theta"]:
        """The parameters of each image's warp; nothing is warped.

        Args:
            image: (n, h, w, c), or (n, d, h, w, c) for "affine3d", which the localiser reads; without a localiser it
                may be left out.
            features: (n, f), given exactly when there is no localiser.

        Returns:
            theta (n, ...), with an axis (n, count, ...) if count > 1; float32, or float64 of float64 features.

        Raises:
            ValueError: if one of both is missing, too much or of another shape.
        """
        theta = self._predict_each(image, features)
        return theta if self.count > 1 else theta[:, 0]

    def warp(
        self, image: Float[Array, "n *sizes c"], theta: Float[Array, "n *theta"]
    ) -> tuple[Array | tuple[Array, ...], dict[str, Array]]:
        """Warp a batch by given parameters; neither the localiser nor the head takes part.

        Args:
            image: (n, h, w, c), or (n, d, h, w, c) for "affine3d".
            theta: (n, ...), with an axis (n, count, ...) if count > 1, as `predict` gives it.

        Returns:
            `(y, out)` as the call gives them; see the class.

        Raises:
            ValueError: if the image or theta has another shape.
        """
        self._check_image(image)
        wanted = (image.shape[0], *((self.count,) if self.count > 1 else ()), *self.theta_shape)
        if theta.shape != wanted:
            raise ValueError(f"theta must have the shape {wanted}, but it is {theta.shape}")
        return self._warp_each(image, theta if self.count > 1 else theta[:, None])

    def _predict_each(self, image, features):
        """The parameters, theta (n, count, ...)."""
        if image is not None:
            self._check_image(image)
        if self.localiser is not None:
            if features is not None:
                raise ValueError("features must be None for a SpatialTransformer that has a localiser")
            if image is None:
                raise ValueError("image must be given to a SpatialTransformer that has a localiser, not None")
            features = self.localiser(image)
        elif features is None:
            raise ValueError("features must be given to a SpatialTransformer that has no localiser, not None")
        n = "n" if image is None else image.shape[0]
        if features.ndim != 2 or features.shape != (features.shape[0] if image is None else n, self.features):
            raise ValueError(f"features must have the shape ({n}, {self.features}), but it is {features.shape}")
        theta = self.head(features.astype(widest(features.dtype, self.head.param_dtype)))
        return theta.reshape(theta.shape[0], self.count, *self.theta_shape)

    def _warp_each(self, image, theta):
        """What the call returns, by theta (n, count, ...)."""
        input_shape = image.shape[1:-1]
        shape = self.shape or input_shape

        def warp_all(image, thetas):
            grids = [self._grid(theta, shape) for theta in thetas]
            coords = jnp.stack([ops.to_pixels(grid, input_shape, align_corners=self.align_corners) for grid in grids])
            return jax.vmap(lambda c: self._sample(image, c))(coords), coords

        warped, coords = jax.vmap(warp_all)(image, theta)
        if self.count == 1:
            return warped[:, 0], {"theta": theta[:, 0], "coords": coords[:, 0]}
        return tuple(warped[:, i] for i in range(self.count)), {"theta": theta, "coords": coords}

    def _check_image(self, image):
        if image.ndim != self._axes + 2:
            wanted = "(n, d, h, w, c)" if self._axes == 3 else "(n, h, w, c)"
            raise ValueError(f"image must have the shape {wanted} for the warp {self.kind!r}, but it is {image.shape}")

    @property
    def _axes(self) -> int:
        return 3 if self.kind == "affine3d" else 2

    @property
    def _row(self) -> _Warp:
        if self.scale is None:
            return _WARPS[self.kind]
        return _WARPS["translation"]._replace(grid=partial(_shifted_grid, scale=self.scale))

    def _nearest_to_identity(self, basis) -> np.ndarray | Array:
        """The parameters with which the basis says the identity, as nearly as it can."""
        basis = as_array(basis)
        xp = jnp if isinstance(basis, Tracer) else np  # a basis that is drawn where the module is made abstractly
        basis = xp.asarray(basis)
        check_floating("basis", basis)
        if basis.ndim != 3:
            raise ValueError(f"basis must have the shape (m, h, w), but it is {basis.shape}")
        self.shape = self.shape or basis.shape[1:]
        if self.shape != basis.shape[1:]:
            raise ValueError(
                f"basis must have the shape (m, {self.shape[0]}, {self.shape[1]}), but it is {basis.shape}"
            )
        with jax.ensure_compile_time_eval():  # also where the module is made abstractly
            identity = np.asarray(ops.affine_grid(jnp.eye(2, 3), self.shape, align_corners=self.align_corners))
        columns = basis.astype(widest(basis.dtype, jnp.float32)).reshape(len(basis), -1).T
        return xp.linalg.lstsq(columns, identity.reshape(-1, 2), rcond=None)[0].T

    def _grid(self, theta, shape):
        if self.kind == "linear":
            return ops.linear_grid(theta, self.basis[...])
        return self._row.grid(theta, shape, align_corners=self.align_corners)

    def _sample(self, image, coords):
        if self.antialias > 1:
            return self._read(image, ops.footprint_coords(coords, self.antialias)).mean(-2)
        return self._read(image, coords)

    def _read(self, image, coords):
        if self.padding == "reflection" and not self.align_corners:
            # Of the samplers only this one mirrors about the outer edges, and it takes normalised coordinates.
            grid = ops.to_normalised(coords, image.shape[:-1], align_corners=False)
            return ops.grid_sample(image, grid, method=self.method, padding=self.padding, align_corners=False)
        if self.kind == "affine3d":
            return ops.sample_volume(image, coords, padding=self.padding)
        return ops.sample(image, coords, method=self.method, padding=self.padding)


def _check_warp(warp, scale, basis, method, antialias):
    check_choice("warp", warp, WARPS)
    if scale is not None and warp != "attention":
        raise ValueError(f"scale must be None for the warp {warp!r}, not {scale}: it belongs to the warp 'attention'")
    if (basis is None) == (warp == "linear"):
        raise ValueError(f"basis must be given for the warp 'linear' and for no other, and the warp is {warp!r}")
    if warp == "affine3d" and method != "bilinear":
        raise ValueError(f"method must be 'bilinear' for the warp 'affine3d', not {method!r}")
    if not isinstance(antialias, int) or antialias < 1 or (antialias > 1 and warp == "affine3d"):
        raise ValueError(f"antialias must be a whole number from 1, and 1 for the warp 'affine3d', not {antialias}")


def _identity_head(features: int, identity: np.ndarray | Array, count: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(
        features,
        count * identity.size,
        kernel_init=nnx.initializers.zeros,
        bias_init=lambda _, shape, dtype: jnp.tile(jnp.asarray(identity, dtype).ravel(), count).reshape(shape),
        precision="highest",  # theta is multiplied by the image's size: a TPU's bfloat16 would be pixels off
        rngs=rngs,
    )
