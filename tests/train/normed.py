"""A small network whose batch statistics change in training."""

from flax import nnx


class Normed(nnx.Module):
    """A classifier with batch statistics."""

    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(36, momentum=0.5, rngs=rngs)
        self.linear = nnx.Linear(36, 3, rngs=rngs)

    def __call__(self, image):
        return self.linear(self.norm(image.reshape(len(image), -1))), {}
