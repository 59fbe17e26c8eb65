"""Descriptors of drawn images by a small network: `python tests/evaluate/describing.py FOLDER OUTPUT`.

Each read of an image leaves a line in FOLDER.read. Where JAX_COORDINATOR_ADDRESS is set, this is one process of
several.
"""

import os
import sys
import time
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from vtnjax import evaluate, models, nn, train

COUNT = 100


class Drawn:
    """Images of three sizes, of which each read is noted."""

    def __init__(self, read=None, count=COUNT, wait=0.0):
        self.read, self.wait = [] if read is None else read, wait
        self.sizes = tuple(((20, 24), (24, 20), (24, 24))[index % 3] for index in range(count))

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        time.sleep(self.wait)
        self.read.append(index)
        return np.random.default_rng(index).integers(0, 256, (*self.sizes[index], 3), np.uint8)


def network(seed=0, pool=None):
    trunk = models.SmallTrunk(3, (4, 6, 8), rngs=nnx.Rngs(seed))
    return models.RetrievalNet(trunk, pool or nn.GeM(8, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))


class Noted:
    """A list in a file, which a killed process leaves."""

    def __init__(self, path):
        self.path = path

    def append(self, index):
        with self.path.open("a") as file:
            file.write(f"{index}\n")


def main():
    folder, output = map(Path, sys.argv[1:3])
    several = "JAX_COORDINATOR_ADDRESS" in os.environ
    if several:
        train.connect_processes()
    model = network()
    if several:
        graphdef, state = nnx.split(model)  # as a run has it, on all devices of all processes
        model = nnx.merge(graphdef, jax.device_put(state, train.replicated(train.data_mesh())))
    images = Drawn(Noted(folder.with_suffix(f".read-{jax.process_index()}")), wait=0.02)
    np.save(output.with_suffix(f".{jax.process_index()}.npy"), evaluate.describe_all(model, images, folder=folder))


if __name__ == "__main__":
    main()
