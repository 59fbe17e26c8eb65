"""A trunk of two convolutions."""

from flax import nnx


class Trunk(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.last = nnx.Conv(4, 8, (3, 3), strides=2, padding=((1, 1), (1, 1)), rngs=rngs)

    def __call__(self, image):
        x = nnx.relu(self.first(image))
        return {"z": x, "a": nnx.relu(self.last(x))}
