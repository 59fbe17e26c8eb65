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
# # More pixels for what matters: trilinear attention sampling
#
# Where a small part of a large image decides, a small copy of the whole loses it. TASN asks a network where to look
# and **samples the image by its attention**: what is attended to is magnified, the rest is squeezed, rows and columns
# stay straight. Nothing is cut off.

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

from vtnjax import data, models, nn, ops, plot, recipes, train

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests
plt.rcParams["figure.dpi"] = 64
source = data.HiddenDigits("train", drawn=True, count=32 if SMOKE else 3000)
image = jnp.asarray(source[6]["image"], jnp.float32) / 255

# %% [markdown]
# ## From a map to a sampling
#
# The largest attention of each column and each row, as distributions, are the **marginals** (Eq. 4). Their integrals
# say how much attention lies to the left of a pixel, and above it; equal steps of attention, read backwards, are the
# coordinates (Eq. 5). Here the attention is a blob on the digit.

# %%
y, x = np.mgrid[:32, :32]


def blob(row, column, width):
    return jnp.asarray(np.exp(-((y - row) ** 2 + (x - column) ** 2) / width**2), jnp.float32)


where = blob(12.5, 23.5, 4) + 0.03
sampled, out = nn.AttentionSampler((48, 48))(image[None], where[None])
plot.attention_sampling(image, where, out["coords"][0], sampled[0])

# %% [markdown]
# The paper's plain inverse CDF (`dense=None`) gives a sharp peak almost all pixels. The reference implementation bounds
# the density of both axes together, at first to 4 times the mean; what it cuts off is spread over the axis.

# %%
figure = Figure(figsize=(9, 2.6), layout="constrained")
for axes, dense in zip(figure.subplots(1, 4), (None, 8.0, 4.0, 1.5), strict=True):
    sampled, _ = nn.AttentionSampler((48, 48), dense=dense)(image[None], blob(12.5, 23.5, 1.5)[None] + 0.01)
    plot.draw_image(axes, np.asarray(sampled[0]), f"dense={dense}")
figure

# %% [markdown]
# ## Attention from features
#
# The maps need no parameters. Channels that answer at the same places are related: with features X, one row a channel,
# `N(N(X) X') X` gives each channel the mean of all channels, weighted by how they relate to it (Eq. 2). N is a softmax,
# over positions within and over channels outside. Three channels answer to the same spot with noise, two hold nothing
# but noise: the maps agree on the spot.

# %%
noise = 0.3 * jax.random.uniform(jax.random.key(0), (32, 32, 5))
features = noise + jnp.stack([blob(20, 21, 3), 0.6 * blob(19, 22, 3), 0.7 * blob(21, 20, 4), *[0 * where] * 2], axis=-1)
plot.attention_maps(features, ops.trilinear_attention(features, sharpness=7.0), range(5))

# %% [markdown]
# ## A network that learns where to look
#
# Images of 128 x 128 pixels with one digit among pieces of others. (The digits are printed ones, so that nothing is
# needed; `configs/hidden_digits.py` takes handwritten ones.) The attention network sees the image at 48 x 48 and learns
# to classify it. The sum of its maps guides a **structure-preserved** image for the master-net, one map at a time,
# chosen at random, a **detail-preserved** one for the part-net, from which the master learns.

# %%
STEPS = 3 if SMOKE else 200
rngs = nnx.Rngs(0)
attentive = models.SmallTrunk(1, (16, 32, 64), rngs=rngs)
network = models.TASN(
    models.AttentionNetwork(attentive, 64, 10, size=(48, 48), rngs=rngs),
    models.SmallTrunk(1, (16, 32, 64, 64), rngs=rngs),
    64,
    10,
    shape=(48, 48),
    rngs=rngs,
)
optimiser = optax.adam(3e-3)
graphdef, state = train.create_state(network, optimiser, seed=0)


def prepare(key, images):
    return recipes.to_float(images)


step = train.make_train_step(graphdef, optimiser, prepare, recipes.Distillation())
step = jax.jit(step, donate_argnums=0)
batches = data.train_batches(source, batch_size=8 if SMOKE else 32, seed=0)
curve = []
for _ in range(STEPS):
    state, metrics = step(state, next(batches))
    curve.append({name: float(value) for name, value in metrics.items()})
for name in curve[0]:
    print(f"{name:12} {curve[0][name]:.2f} at first, {np.mean([each[name] for each in curve[-20:]]):.2f} at the end")

# %% [markdown]
# Features of the trained attention network above, their attention maps below.

# %%
tests = data.HiddenDigits("test", drawn=True, count=20)
images = jnp.stack([jnp.asarray(tests[i]["image"], jnp.float32) / 255 for i in range(20)])
model = nnx.merge(graphdef, state.params, state.statistics, copy=True)
model.eval()


@jax.jit
def attend(images):
    features, _ = model.attention_network(images)
    return features, model.attention(features)


features, maps = attend(images)
strongest = np.argsort(-np.asarray(features[0]).max((0, 1)))[:8]
plot.attention_maps(features[0], maps[0], strongest.tolist())

# %% [markdown]
# What the master-net reads: beside the image the sum of the maps, their marginals and integrals, and the sampled image.

# %%
_, out = jax.jit(recipes.make_look(graphdef))(state, images)
plot.attention_sampling(images[0], out["attention"][0], out["coords"][0], out["warped"][0])

# %% [markdown]
# The image squeezed to 48 x 48, the structure-preserved one, and two that preserve details, each guided by one map.


# %%
def by_map(channel):
    return nn.AttentionSampler((48, 48))(images[:4], maps[:4, :, :, channel])[0]


squeezed = jax.vmap(lambda image: jax.image.resize(image, (48, 48, 1), "linear", antialias=False))(images[:4])
rows = {
    "squeezed": squeezed,
    "structure": out["warped"][:4],
    "detail 1": by_map(strongest[0]),
    "detail 2": by_map(strongest[1]),
}
figure = Figure(figsize=(6, 6.2), layout="constrained")
for axes, (name, pictures) in zip(figure.subplots(4, 4).T, rows.items(), strict=True):
    for each, picture in zip(axes, pictures, strict=True):
        plot.draw_image(each, picture, name)
        each.axis("off")
figure
