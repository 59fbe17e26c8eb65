# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Second-order pooling: how channels vary together
#
# Average pooling tells how strongly each channel answers. **Second-order** pooling tells which channels answer
# together: a covariance, or a mean product, of every two channels. Fine-grained recognition used it before and beside
# warps, and in VTN's Table 2 the features are warped before each of these poolings.

# %%
# %matplotlib inline
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure

from vtnjax import data, models, nn, ops, recipes, train

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests

plt.rcParams["figure.dpi"] = 72
SOURCE = data.Generated("test", count=64)
IMAGES = jnp.asarray(np.stack([SOURCE[i]["image"] for i in range(64)]), jnp.float32) / 255
TRUNK = models.SmallTrunk(1, (16, 32, 64), rngs=nnx.Rngs(0))
FEATURES = TRUNK(IMAGES)["conv3"]  # (64, h, w, 64), of a network that nobody trained
print(FEATURES.shape)

# %% [markdown]
# ## The spectrum of a covariance
#
# A few directions of the channels hold nearly all of the variance. The **square root** of the covariance makes the
# directions more alike: an eigenvalue of a hundredth of the largest becomes a tenth. MPN-COV takes the root by
# eigenvalues. iSQRT-COV iterates instead: products of matrices alone, which run fast on any accelerator.

# %%
MATRIX = np.asarray(ops.covariance(FEATURES[0]))
SHARES = np.linalg.eigvalsh(MATRIX)[::-1] / np.trace(MATRIX)
SIZE = MATRIX.shape[0]


def eigenvalues(triangle):
    """Of the matrix whose upper triangle is given row by row, the largest first."""
    matrix = np.zeros((SIZE, SIZE))
    matrix[np.triu_indices(SIZE)] = triangle
    return np.linalg.eigvalsh(matrix + np.triu(matrix, 1).T)[::-1]


figure = Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
scale = np.sqrt(np.trace(MATRIX))
left.semilogy(np.maximum(SHARES, 1e-9), color="black", label="covariance")
for iterations in (1, 3, 5, 8):
    found = eigenvalues(ops.isqrt_covariance(FEATURES[0], iterations=iterations)) / scale
    left.semilogy(np.maximum(found, 1e-9), label=f"{iterations} iterations")
exact = eigenvalues(ops.matrix_power_covariance(FEATURES[0])) / scale
left.semilogy(np.maximum(exact, 1e-9), "--", color="grey", label="exact root")
left.set(xlabel="eigenvalue", ylabel="relative to the trace", ylim=(1e-8, 1.5), title="a spectrum")
left.legend(fontsize=8)

share = np.logspace(-5, 0, 200)
for iterations in (1, 3, 5, 8, 12):
    y, z = share.copy(), np.ones_like(share)
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, z * t
    right.semilogx(share, y / np.sqrt(share), label=f"{iterations}")
right.set(xlabel="eigenvalue / trace", title="share of the true root that is reached")
right.legend(title="iterations", fontsize=8)
figure

# %% [markdown]
# Five iterations, which are the paper's, reach the root of the large eigenvalues alone. A small one is multiplied by
# 1.5 in each of them, so it stays **linear**: what varies little is still suppressed.

# %%
y, z = 1e-4, 1.0
for _ in range(5):
    t = (3 - z * y) / 2
    y, z = y * t, z * t
print(f"five iterations make {y:.2e} of an eigenvalue of 0.0001; its root is 0.01")

# %% [markdown]
# ## Sketches
#
# The products of 512 channels are 262,144 numbers. **Tensor Sketch** folds them into fewer: each channel is added to a
# random place with a random sign, twice, and the two sketches are convolved around a circle. On average over sketches,
# inner products of what comes out are squares of those of the features. Each dot is a pair of positions.

# %%
VECTORS = np.asarray(FEATURES.reshape(-1, SIZE)[::113])  # not all in one part of the image
VECTORS = VECTORS - VECTORS.mean(0, keepdims=True)
VECTORS = VECTORS / np.maximum(np.linalg.norm(VECTORS, axis=1, keepdims=True), 1e-9)
EXACT = np.square(VECTORS @ VECTORS.T)
figure = Figure(figsize=(9, 3), layout="constrained")
for axes, size in zip(figure.subplots(1, 3, sharey=True), (64, 512, 8192), strict=True):
    pool = nn.CompactBilinearPool(SIZE, size, rngs=nnx.Rngs(0))
    sketch = jax.vmap(
        lambda x, pool=pool, size=size: ops.compact_bilinear_pool(
            x[None, None], pool.hashes[...], pool.signs[...], size, normalise=False
        )
    )(jnp.asarray(VECTORS))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.plot(EXACT.ravel(), np.asarray(sketch @ sketch.T).ravel(), ".", markersize=2)
    axes.set(title=f"{size} numbers", xlabel="square of the inner product")
figure.axes[0].set_ylabel("inner product of the sketches")
figure

# %% [markdown]
# ## Heads
#
# Each pooling is a module and the head of a network: `head=bp|cbp|kp|mpncov|isqrt` of `configs/cub_vtn.py`, with a VTN
# before it or without one.

# %%
POOLINGS = {
    "bilinear": nn.BilinearPool(SIZE, rngs=nnx.Rngs(0)),
    "compact bilinear": nn.CompactBilinearPool(SIZE, 1024, rngs=nnx.Rngs(0)),
    "kernel": nn.KernelPool(SIZE, 512, rngs=nnx.Rngs(0)),
    "MPN-COV": nn.MPNCOV(SIZE, reduced=32, rngs=nnx.Rngs(0)),
    "iSQRT-COV": nn.ISQRTCOV(SIZE, reduced=32, rngs=nnx.Rngs(0)),
}
for name, pool in POOLINGS.items():
    print(f"{name}: {FEATURES.shape} -> {pool(FEATURES).shape}")

# %% [markdown]
# ## Scenes
#
# `configs/scenes.py` asks the question of photographs: objects that are cut out of photographs lie turned, tilted and
# partly hidden on other photographs, and the place, the box and the mask of each are known exactly. The real ones need
# the stamps of Tux Paint (`apt-get install tuxpaint-stamps-default`); below are drawn stand-ins, which need nothing.

# %%
SCENES = data.load_source("drawn:scenes", "train", task="fine", size=112)
figure = Figure(figsize=(9, 2.5), layout="constrained")
for axes, index in zip(figure.subplots(1, 6), range(6), strict=True):
    scene = SCENES[index]
    x0, y0, x1, y1 = scene["box"] - 0.5
    axes.imshow(scene["image"])
    axes.contour(scene["mask"], [0.5], colors="white", linewidths=0.8)
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="red", linewidth=1)
    axes.set_title(SCENES.classes[scene["label"]], fontsize=8)
    axes.axis("off")
figure

# %% [markdown]
# ## Which classes a VTN wins and loses
#
# A mean over all classes hides that a warp helps some and harms others. Here two small networks learn to name the drawn
# stamps, one with a VTN before its classifier and one without, and the test error of each class stands side by side.
# The bars are of one short run each, so they show how to look and not what is true of photographs;
# `docs/results/vtn.md` has what was measured there.

# %%
STEPS, SIZE, TESTED = (3, 32, 48) if SMOKE else (200, 64, 480)
TRAIN, TEST = (data.load_source("drawn:scenes", split, task="all", size=SIZE) for split in ("train", "test"))
WHICH = np.linspace(0, len(TEST) - 1, TESTED).round().astype(int)
SEEN = jnp.asarray(np.stack([TEST[i]["image"] for i in WHICH]), jnp.float32) / 255
LABELS = np.array([TEST[i]["label"] for i in WHICH])


def prepare(key, images):
    return recipes.to_float(images)


def error_by_class(warped):
    """Train a network, with a VTN or without, and find its test error in each class."""
    rngs = nnx.Rngs(0)
    vtn = nn.VolumetricTransformer(64, 8, window=(3, 3), temperature=1.0, widths=(8, 16, 16, 16), rngs=rngs)
    head = models.PooledClassifier(64, len(TRAIN.classes), rngs=rngs)
    network = models.WarpedFeatures(models.SmallTrunk(3, (16, 32, 64), rngs=rngs), vtn if warped else None, head)
    optimiser = optax.adam(2e-3)
    graphdef, state = train.create_state(network, optimiser, seed=0)
    step = jax.jit(train.make_train_step(graphdef, optimiser, prepare, recipes.CrossEntropy()), donate_argnums=0)
    batches = data.train_batches(TRAIN, batch_size=32, seed=0)
    for _ in range(STEPS):
        state, _ = step(state, next(batches))
    logits, _ = jax.jit(train.merged(graphdef, state))(SEEN)
    wrong = np.asarray(logits.argmax(-1)) != LABELS
    return np.array([wrong[label == LABELS].mean() for label in range(len(TRAIN.classes))])


PLAIN, VTN = error_by_class(False), error_by_class(True)
ORDER = np.argsort(PLAIN - VTN)[::-1]
figure = Figure(figsize=(9, 3.2), layout="constrained")
axes = figure.subplots()
for offset, (name, errors) in enumerate({"plain": PLAIN, "VTN": VTN}.items()):
    axes.bar(np.arange(len(ORDER)) + 0.4 * offset - 0.2, 100 * errors[ORDER], 0.4, label=name)
axes.set_xticks(
    range(len(ORDER)), [TRAIN.classes[i].split("/")[-1] for i in ORDER], rotation=45, ha="right", fontsize=8
)
axes.set(ylabel="error in percent", title="from where the VTN wins most to where it loses most")
axes.legend()
print(f"mean error: plain {100 * PLAIN.mean():.1f} %, VTN {100 * VTN.mean():.1f} %")
figure
