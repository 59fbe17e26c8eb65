"""Learned spatial warping in JAX: samplers, grids, spatial transformers and the recipes that train them."""

from vtnjax import models, nn, ops

__version__ = "0.1.0"
__all__ = ["models", "nn", "ops"]
