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
# # A field for each group of channels: the volumetric transformer
#
# A spatial transformer warps all channels of a feature map alike. A **volumetric transformer** (VTN) gives each group
# of channels a field of its own: the parts of an object that different channels answer to move independently.
#
# Its fields are free-form. Each position looks at the **candidates** in a window around it; a softmax over what the
# group answers there, plus a learned **residual**, makes probabilities; the mean offset is the field (Eq. 1 and 2).

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

from vtnjax import data, distort, losses, models, ops, plot, recipes, train

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests
plt.rcParams["figure.dpi"] = 64

# %% [markdown]
# ## Candidates
#
# One group answers to a blob. Without a residual every position is drawn towards where the answer is strong, as far as
# its window reaches. The dots lie where the positions read, coloured by the position.

# %%
SHAPE, WINDOW = (14, 14), (7, 7)
y, x = np.mgrid[:14, :14]
blob = 10 * np.exp(-((x - 9) ** 2 + (y - 5) ** 2) / 6).astype(np.float32)
response = jnp.asarray(blob)[:, :, None]
residual = jnp.zeros((*SHAPE, 1, WINDOW[0] * WINDOW[1]))


def field(response, residual, **options):
    probabilities = ops.candidate_probabilities(residual, response, window=WINDOW, **options)
    return ops.displace(ops.expected_displacement(probabilities, window=WINDOW))[:, :, 0]


def draw_fields(fields):
    figure = Figure(figsize=(2.6 * len(fields), 2.8), layout="constrained")
    axes = figure.subplots(1, len(fields), squeeze=False)[0]
    for ax, (title, coords) in zip(axes, fields.items(), strict=True):
        plot.draw_sources(ax, np.asarray(response) / 10, coords)
        ax.set_title(title, fontsize=9)
    return figure


draw_fields({f"temperature {t}": field(response, residual, temperature=t) for t in (0.3, 1.0, 3.0, 10.0)})

# %% [markdown]
# The paper's temperature, 10, is made for the large activations of a pretrained network. With answers of order 1 the
# softmax is almost uniform, and something else shows: at the border the candidates outside the map are masked, so the
# mean of the others points inwards. The field is a fixed **zoom towards the centre**, whatever the image.
# `border="zero"` keeps those candidates, and a residual that favours the centre candidate (`centre_bias` of the module)
# starts near the identity.

# %%
weak, centre = response / 10, WINDOW[0] * WINDOW[1] // 2
draw_fields(
    {
        "masked": field(weak, residual),
        'border="zero"': field(weak, residual, border="zero"),
        "centre bias 60": field(weak, residual.at[..., centre].set(60.0)),
    }
)

# %% [markdown]
# ## Two digits, two fields
#
# Each digit lies in a channel of its own (drawn red and cyan) and is moved on its own. One warp for both cannot put
# both upright in the middle; a field for each channel can. Here a small network learns to name both digits, with a VTN
# before its classifier. (The digits are printed ones, so that nothing is needed; `configs/two_digits.py` takes real
# ones.)

# %%
STEPS = 4 if SMOKE else 250
source = data.TwoDigits("train", label="pair", drawn=True)
options = {"window": WINDOW, "temperature": 1.0, "widths": (8, 16, 16, 16)}
network = models.TwoDigitNetwork("vtn_two", (42, 42, 2), classes=100, warp_options=options, rngs=nnx.Rngs(0))
optimiser = optax.adam(2e-3)
graphdef, state = train.create_state(network, optimiser, seed=0)


def prepare(key, images):
    return distort.distort_batch("RTS2", key, recipes.to_float(images))


step = jax.jit(train.make_train_step(graphdef, optimiser, prepare, recipes.CrossEntropy()), donate_argnums=0)
batches = data.train_batches(source, batch_size=16 if SMOKE else 64, seed=0)
curve = []
for _ in range(STEPS):
    state, metrics = step(state, next(batches))
    curve.append(float(metrics["loss"]))
print(f"cross-entropy of both digits: {curve[0]:.2f} at first, {np.mean(curve[-20:]):.2f} at the end")

# %%
images = prepare(jax.random.key(1), np.stack([source[i]["image"] for i in range(8)]))
_, out = jax.jit(recipes.make_look(graphdef))(state, images)
plot.fields(images, out["coords"], [source.classes[source[i]["label"]] for i in range(8)])

# %% [markdown]
# ## The consistency loss
#
# Warped maps of one class should agree, position by position, more than those of different classes: a triplet loss
# (Eq. 4). As written it sums over positions; on a map of 14 x 14 with few channels its gradient drowns the task's. The
# mean over positions, or features of unit length, keep it in bounds.

# %%
images = prepare(jax.random.key(2), np.stack([source[i]["image"] for i in range(16)]))
labels = jnp.asarray([source[i]["label"] for i in range(16)])
positive, negative = losses.draw_triplets(jax.random.key(0), labels // 10)


def consistency(features, **options):
    return losses.consistency_loss(features, features[positive], features[negative], **options)


_, out = jax.jit(recipes.make_look(graphdef))(state, images)
for name, options in {
    "Eq. 4, margin 20": {"margin": 20.0},
    "mean over positions, margin 20": {"margin": 20.0, "positions": "mean"},
    "unit features, mean, margin 0.5": {"margin": 0.5, "positions": "mean", "normalise": True},
}.items():
    value, gradient = jax.value_and_grad(lambda v, options=options: consistency(v, **options))(out["warped"])
    print(f"{name:32} loss {value:8.2f}, gradient's norm {jnp.linalg.norm(gradient):.4f}")
