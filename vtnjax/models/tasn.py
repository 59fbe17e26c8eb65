"""The trilinear attention sampling network: what to look at, two samplings of the image, and one trunk for both."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from vtnjax import ops
from vtnjax._arrays import by_rows, clamp
from vtnjax._checks import check_choice, check_positive
from vtnjax.models.layers import last_features
from vtnjax.models.resampling import SAMPLERS, resample
from vtnjax.nn import TrilinearAttention

SELECTIONS = ("random", "ranked")
_DILATIONS = ((1, 2), (1, 2, 3))


class MultiDilation(nnx.Module):
    """One 3 x 3 convolution at several dilations, each rectified, added up: the weights are shared (TASN 3.1)."""

    def __init__(self, channels: int, dilations: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        """Make the convolution, from `channels` to as many, for the given dilations."""
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), (3, 3, channels, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.dilations, self.dtype = tuple(dilations), dtype

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The sum over the dilations."""
        dtype = x.dtype if self.dtype is None else self.dtype
        x, kernel, bias = (array.astype(dtype) for array in (x, self.kernel[...], self.bias[...]))

        def at(dilation):
            return lax.conv_general_dilated(
                x,
                kernel,
                (1, 1),
                [(dilation, dilation)] * 2,
                rhs_dilation=(dilation, dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )

        return sum((nnx.relu(at(d) + bias.reshape(1, 1, 1, -1)) for d in self.dilations), jnp.zeros((), x.dtype))


class AttentionNetwork(nnx.Module):
    """The network that TASN's attention comes from: a trunk, two blocks of shared dilated convolutions, a classifier.

    In the paper the trunk is a ResNet-18 without two of its strides: `ResNet("resnet18", strides=(1, 1, 2, 1))`.
    Calling it with images (n, h, w, c) returns `(features, logits)`: what the blocks make, (n, h', w', channels), and
    logits (n, classes) by which it is trained.
    """

    def __init__(
        self,
        trunk: Callable[[Array], dict[str, Array]],
        channels: int,
        classes: int,
        *,
        size: Sequence[int],
        scale: float = 1.0,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            trunk: a module from images to features by name, the last of which are used.
            channels: of the trunk's last features.
            classes: of the logits.
            size: (h, w) that the images are resized to first; (224, 224) in the reference implementation.
            scale: a factor of the trunk's features, as in `WarpedFeatures`.
            dtype: of the computation.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the scale is not above 0.
        """
        check_positive("scale", scale)
        self.trunk, self.size, self.scale = trunk, tuple(size), scale
        self.blocks = nnx.List([MultiDilation(channels, each, dtype=dtype, rngs=rngs) for each in _DILATIONS])
        self.norm = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.classifier = nnx.Linear(channels, classes, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h2 w2 k"], Float[Array, "n classes"]]:
        """Features and logits; see the class."""
        small = jax.vmap(lambda image: ops.resize(image, self.size))(image)
        x = last_features(self.trunk, small) * self.scale
        for block in self.blocks:
            x = block(x)
        pooled = by_rows(lambda rows: nnx.relu(self.norm(rows)), x).mean((1, 2))
        return x, self.classifier(pooled).astype(jnp.float32)


class TASN(nnx.Module):
    """Trilinear attention sampling network (TASN sections 3.1-3.3).

    The attention network makes maps of its features. Their sum guides the sampling of the structure-preserved image,
    which the master-net reads; in training one map at a time, chosen at random, guides that of a detail-preserved
    image, which the part-net reads. Both are one trunk, run on both kinds of images as one batch. Each has a linear
    layer of its own, by which the master learns from the part (`losses.soft_cross_entropy`), and they share a third, by
    which the network predicts. No gradient passes from the images to the attention.

    As in the reference implementation the sum of the maps is squared before it guides, the single maps are not, and
    maps are resized to the image first. In evaluation mode the part-net does not run, unless it is what predicts: then
    the sum of the maps, not squared, guides it.

    Calling it with images (n, h, w, c) returns `(logits, out)`. `out` holds `features` of the trunk, `attention` (n, h,
    w), which guided the master's sampling, `warped` and `coords`, what it read and where, `attention_logits` and
    `master_logits`; where the part-net runs also `part_logits` and `shared_part_logits` (n, parts, classes), `detail`
    and `detail_coords`, (n, parts, ...). Where both nets warp their features, as VTN's Table 3 combines them,
    `warped_features` and `feature_coords` are the master-net's.
    """

    draws = True

    def __init__(
        self,
        attention_network: AttentionNetwork | None,
        trunk: Callable[[Array], dict[str, Array]],
        channels: int,
        classes: int,
        *,
        shape: Sequence[int],
        attention: TrilinearAttention | None = None,
        sampler: str = "inverse_cdf",
        parts: int = 1,
        selection: str = "random",
        predict: str = "master",
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None = None,
        pooling: Any = None,
        dense: float | None = 4.0,
        iterations: int = 5,
        scale: float = 1.0,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            attention_network: where the attention comes from; None with the sampler "none".
            trunk: a module from sampled images to features by name, the last of which are pooled.
            channels: of the trunk's last features.
            classes: of the logits.
            shape: (h, w) of the sampled images.
            attention: makes the maps, by default as Eq. 2 with the reference's sharpness.
            sampler: "inverse_cdf", "ssn", "uniform" or "none"; see `models.resampling`.
            parts: detail-preserved images for each image in training; 0 trains the master-net alone.
            selection: of their maps: "random", all alike, or "ranked", by their mean response (the paper: 0.2 worse).
            predict: "master" or "part", whose shared logits are the network's in evaluation mode.
            transformer: a module from the trunk's features to `(warped, out)`, such as a VTN, of both nets; None: none.
            pooling: a module from features to descriptors (n, `pooling.size`), such as `nn.ISQRTCOV`, of both nets;
                None: the mean over the positions.
            dense: where the inverse CDF clips attention, at least 1, or None, as `ops.attention_coords` takes it.
            iterations: of the inverse CDF's clipping, as `ops.attention_coords` takes them.
            scale: a factor of the trunk's features, as in `WarpedFeatures`; the attention network has one of its own.
            dtype: of the computation.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a name or the scale is wrong, or there is no attention network where one is needed.
        """
        _check(attention_network, sampler, parts, selection, predict)
        check_positive("scale", scale)
        self.attention_network, self.trunk, self.attention = attention_network, trunk, attention or TrilinearAttention()
        self.shape, self.sampler, self.parts = tuple(shape), sampler, parts
        self.selection, self.predict, self.dense, self.iterations = selection, predict, dense, iterations
        self.scale, self.deterministic = scale, False
        self.transformer, self.pooling = transformer, pooling

        def head():
            return nnx.Linear(pooling.size if pooling else channels, classes, dtype=dtype, rngs=rngs)

        self.master_head, self.shared_head = head(), head()
        if parts:
            self.part_head = head()

    def __call__(
        self,
        image: Float[Array, "n h w c"],
        *,
        chosen: Int[Array, "n parts"] | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits and what there is to see; see the class.

        Args:
            image: (n, h, w, c), at full resolution.
            chosen: which maps guide the detail-preserved images; by default `rngs` chooses, in training.
            rngs: NNX's random streams; `select` is used, or the default stream.

        Raises:
            ValueError: if maps must be chosen and there is neither `chosen` nor `rngs`.
        """
        if image.ndim != 4:
            raise ValueError(f"image must have the shape (n, h, w, c), but it is {image.shape}")
        out, maps = {}, None
        if self.attention_network is not None:
            features, out["attention_logits"] = self.attention_network(image)
            maps = lax.stop_gradient(self.attention(features))  # (n, h', w', k)
            out["attention"] = _to_image(maps.sum(-1), image) ** 2
        images, coords = self._sample(image, out.get("attention"))
        out |= {"warped": images, "coords": coords}
        if maps is None or (self.deterministic and self.predict == "master") or not self.parts:
            out["features"], pooled, seen = self._describe(images)
            out |= seen
            out["master_logits"] = _as_logits(self.master_head(pooled))
            return _as_logits(self.shared_head(pooled)), out
        return self._with_parts(image, maps, chosen, rngs, out)

    def _with_parts(self, image, maps, chosen, rngs, out):
        guides = maps.sum(-1)[:, None] if self.deterministic else self._select(maps, chosen, rngs)  # (n, parts, h', w')
        samples = [self._sample(image, _to_image(guides[:, i], image)) for i in range(guides.shape[1])]
        out["detail"], out["detail_coords"] = (jnp.stack(each, axis=1) for each in zip(*samples, strict=True))
        # An image beside its details, not all images before all details: a batch spread over devices stays where it is.
        both = jnp.concatenate([out["warped"][:, None], out["detail"]], axis=1)
        described = self._describe(both.reshape(-1, *both.shape[2:]))
        features, pooled, seen = jax.tree.map(lambda x: x.reshape(*both.shape[:2], *x.shape[1:]), described)
        out |= {"features": features[:, 0], **{name: each[:, 0] for name, each in seen.items()}}
        shared = _as_logits(self.shared_head(pooled))
        out["master_logits"] = _as_logits(self.master_head(pooled[:, 0]))
        out["part_logits"] = _as_logits(self.part_head(pooled[:, 1:]))
        out["shared_part_logits"] = shared[:, 1:]
        by_part = self.deterministic and self.predict == "part"
        return shared[:, 1] if by_part else shared[:, 0], out

    def _describe(self, images):
        """The trunk's features of a batch, its descriptors (n, size), and what there is to see of warped features."""
        features = last_features(self.trunk, images) * self.scale
        warped, seen = features, {}
        if self.transformer is not None:
            warped, out = self.transformer(features)
            seen = {"warped_features": warped, "feature_coords": out["coords"]}
        pooled = warped.mean((1, 2)) if self.pooling is None else self.pooling(warped)
        return features, pooled.astype(features.dtype), seen

    def _select(self, maps, chosen, rngs):
        """The chosen maps of each image, (n, parts, h', w')."""
        count = maps.shape[-1]
        if chosen is None:
            if rngs is None:
                raise ValueError("rngs must be given in training, to choose the maps, unless `chosen` is")
            key = rngs["select"]() if "select" in rngs else rngs()
            weights = maps.mean((1, 2)) if self.selection == "ranked" else jnp.ones((maps.shape[0], count), maps.dtype)
            # All equally likely where no map of an image answers.
            logits = jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny))
            chosen = jax.random.categorical(key, logits[:, None], axis=-1, shape=(maps.shape[0], self.parts))
        one_hot = jax.nn.one_hot(chosen, count, dtype=maps.dtype)  # (n, parts, k)
        return jnp.einsum("npk,nhwk->nphw", one_hot, maps, precision=lax.Precision.HIGHEST)

    def _sample(self, image, attention):
        return resample(image, attention, self.shape, self.sampler, dense=self.dense, iterations=self.iterations)


def _check(attention_network, sampler, parts, selection, predict):
    check_choice("sampler", sampler, SAMPLERS)
    check_choice("selection", selection, SELECTIONS)
    check_choice("predict", predict, ("master", "part"))
    if (attention_network is None) != (sampler == "none"):
        raise ValueError(f"attention_network must be None with the sampler 'none' and with no other, not {sampler!r}")
    if not hasattr(parts, "__index__") or parts < 0 or (parts and sampler == "none"):
        raise ValueError(f"parts must be a whole number of at least 0, and 0 with the sampler 'none', not {parts!r}")
    if predict == "part" and not parts:
        raise ValueError("predict must be 'master' where there are no parts, not 'part'")


def _to_image(maps: Float[Array, "n h w"], image: Array) -> Float[Array, "n h2 w2"]:
    """Maps at the image's size; what bilinear weights round below 0 stays 0."""
    return jax.vmap(lambda one: ops.resize(one[..., None], image.shape[1:3])[..., 0])(clamp(maps, 0, jnp.inf))


def _as_logits(x: Any) -> Array:
    return x.astype(jnp.float32)
