"""Flax NNX modules: parameters and wiring; the mathematics is in `vtnjax.ops`."""

from vtnjax.nn.spatial_transformer import SpatialTransformer

__all__ = ["SpatialTransformer"]
