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
# # Warps, from a grid to a trained spatial transformer
#
# Warping an image takes two steps. A **grid** says, for each pixel of the output, which place of the input it reads. A
# **sampler** reads the image there. Both are differentiable, so a network can learn where to look.
#
# Everything here is drawn or packaged: nothing is downloaded. It takes about a minute on two cores.

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

from vtnjax import data, distort, models, ops, plot, recipes, train
from vtnjax.nn import SpatialTransformer

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests
plt.rcParams["figure.dpi"] = 64


def panels(count, height=2.6):
    """A figure with a row of axes."""
    figure = Figure(figsize=(height * count, height + 0.2), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


# %% [markdown]
# A picture to play with: coloured, and different in every corner, so that no flip or turn goes unnoticed.


# %%
def picture(size=96):
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    image = np.stack([0.5 + 0.4 * x, 0.45 - 0.35 * y, 0.6 - 0.3 * x * y], axis=-1)
    image *= 0.8 + 0.2 * ((((x + 1) * 4).astype(int) + ((y + 1) * 4).astype(int)) % 2)[..., None]  # a chessboard
    image[np.hypot(x, y) < 0.5] = (0.98, 0.8, 0.2)  # a face
    image[(np.abs(np.abs(x) - 0.18) < 0.06) & (np.abs(y + 0.14) < 0.08)] = 0.1
    image[(np.abs(np.hypot(x, y - 0.02) - 0.3) < 0.035) & (y > 0.12)] = (0.7, 0.1, 0.1)
    image[np.hypot(x - 0.75, y + 0.75) < 0.15] = 1  # a moon, top right
    return jnp.asarray(image, jnp.float32)


image = picture()
figure, axes = panels(1)
plot.draw_image(axes[0], image)
figure

# %% [markdown]
# ## Coordinates
#
# Coordinates are `(x, y)`, x to the right and y down. There are two kinds:
#
# - *pixel* coordinates: `(0, 0)` is the centre of the first pixel. Samplers take these.
# - *normalised* coordinates: -1 and 1 are the centres of the first and last pixel. Grids give these.

# %%
corners = jnp.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
print("as pixels of a 96 x 96 image:", ops.to_pixels(corners, (96, 96)).tolist())
print("and back:                    ", ops.to_normalised(ops.to_pixels(corners, (96, 96)), (96, 96)).tolist())

# The identity: every pixel reads itself.
np.testing.assert_allclose(ops.sample(image, ops.identity_coords((96, 96))), image)

# %% [markdown]
# ## Grids
#
# The warps are *pulls*: the grid drawn on the input is where the output's pixels come from. A small tilted grid makes a
# big picture, tilted the other way. The cyan edge becomes the top of the output.

# %%
SHAPE = (96, 96)
turn = np.radians(25)
line = np.linspace(-1, 1, 4)
control = np.stack(np.meshgrid(line, line), axis=-1).reshape(16, 2)  # 4 x 4 points, row by row
wobble = 0.16 * np.random.default_rng(3).normal(size=(16, 2))

grids = {
    "affine": ops.affine_grid(
        0.7 * jnp.array([[np.cos(turn), -np.sin(turn), 0.2], [np.sin(turn), np.cos(turn), -0.1]]), SHAPE
    ),
    "attention": ops.attention_grid(0.4, jnp.array([0.1, 0.0]), SHAPE),
    "projective": ops.projective_grid(jnp.array([0.75, 0.1, 0.0, 0.0, 0.8, 0.0, 0.1, 0.4]), SHAPE),
    "thin-plate spline": ops.thin_plate_spline_grid(jnp.asarray(0.8 * control + wobble, jnp.float32), SHAPE),
}


def before_and_after(image, grids):
    figure = Figure(figsize=(2.5 * len(grids), 5.3), layout="constrained")
    axes = figure.subplots(2, len(grids))
    for (above, below), (name, grid) in zip(axes.T, grids.items(), strict=True):
        coords = ops.to_pixels(grid, image.shape[:2])
        plot.draw_image(above, image, name)
        plot.draw_grid(above, coords, colour="white")
        plot.draw_image(below, ops.sample(image, coords))
    return figure


before_and_after(image, grids)

# %% [markdown]
# The output may have any size: ask for the grid you want. Here a 24 x 160 strip is cut along the diagonal.

# %%
diagonal = jnp.array([[0.7, -0.15, 0.0], [0.7, 0.15, 0.0]])
strip = ops.to_pixels(ops.affine_grid(diagonal, (24, 160)), SHAPE)
figure, axes = panels(2)
plot.draw_image(axes[0], image, "where")
plot.draw_grid(axes[0], strip, colour="white")
plot.draw_image(axes[1], ops.sample(image, strip), "24 x 160")
figure

# %% [markdown]
# ## Samplers
#
# Between pixels `method` decides: `"nearest"`, `"bilinear"` or `"bicubic"`. Outside the image `padding` does:
# `"zeros"`, `"border"` or `"reflection"`, with the names and meanings of `torch.nn.functional.grid_sample`.

# %%
close = ops.to_pixels(ops.attention_grid(0.15, jnp.array([0.2, -0.15]), SHAPE), SHAPE)
figure, axes = panels(3)
for axis, method in zip(axes, ("nearest", "bilinear", "bicubic"), strict=True):
    plot.draw_image(axis, ops.sample(image, close, method=method), method)
figure

# %%
far = ops.to_pixels(ops.attention_grid(1.8, jnp.zeros(2), SHAPE), SHAPE)
figure, axes = panels(3)
for axis, padding in zip(axes, ("zeros", "border", "reflection"), strict=True):
    plot.draw_image(axis, ops.sample(image, far, padding=padding), padding)
figure

# %% [markdown]
# ### A warp for every channel
#
# `sample_channels` reads each group of channels through a field of its own: volumetric transformers do this with the
# channels of a feature map. With three fields the colours of a picture come apart.

# %%
shifts = jnp.array([[-6.0, 0.0], [0.0, 0.0], [6.0, 3.0]])  # of red, green and blue, in pixels
fields = ops.identity_coords(SHAPE)[:, :, None] + shifts[None, None]  # (h, w, groups, 2)
figure, axes = panels(1)
plot.draw_image(axes[0], ops.sample_channels(image, fields), "red left, blue right")
figure

# %% [markdown]
# ### Separable sampling
#
# If x depends on the column alone and y on the row alone, two one-dimensional passes do. Here more samples are spent on
# the middle.


# %%
def denser_in_the_middle(size):
    t = jnp.linspace(-1, 1, size)
    return (0.25 * t + 0.75 * t**3 + 1) / 2 * (size - 1)


x, y = denser_in_the_middle(96), denser_in_the_middle(96)
magnified = ops.sample_separable(image, x, y)
dense = jnp.stack(jnp.meshgrid(x, y), axis=-1)
np.testing.assert_allclose(magnified, ops.sample(image, dense), atol=1e-5)  # the same, sampled densely

figure, axes = panels(2)
plot.draw_image(axes[0], image, "where")
plot.draw_grid(axes[0], dense, lines=13, colour="white")
plot.draw_image(axes[1], magnified, "magnified")
figure

# %% [markdown]
# ## What did the warp look at?
#
# Two pictures of a warp itself. The **sampling density** counts the samples each input pixel got: bright parts were
# magnified, black parts were not looked at. The **colour code** paints each output pixel with the colour of the place
# it read: where two outputs have the same colour they read the same place, as in Fig. 1 of the VTN paper.

# %%
figure = Figure(figsize=(10.5, 5.3), layout="constrained")
axes = figure.subplots(2, 4)
shown = {"identity": ops.affine_grid(jnp.eye(2, 3), (192, 192))}
shown |= {name: jax.image.resize(grid, (192, 192, 2), "linear") for name, grid in list(grids.items())[::-1][:3]}
for (above, below), (name, grid) in zip(axes.T, shown.items(), strict=True):
    coords = ops.to_pixels(grid, SHAPE)
    above.imshow(plot.sampling_density(coords, SHAPE), cmap="magma", vmin=0, vmax=16)
    above.set_title(name, fontsize=9)
    above.set_axis_off()
    plot.draw_image(below, plot.colour_coords(coords, SHAPE))
axes[0, 0].set_axis_on()
axes[0, 0].set(xticks=[], yticks=[], ylabel="density")
axes[1, 0].set_ylabel("colour code")
figure

# %% [markdown]
# ## Gradients: straighten a digit by descent
#
# Take a digit, turn and shift it, and look for the affine matrix that undoes this, by gradient descent on the pixel
# differences alone. The image is blurred a little, so that the gradient sees further than a pixel.

# %%
try:
    train_set, test_set = (data.load_source("digits", split) for split in ("train", "test"))
except ImportError:  # without the extra "demo": printed digits instead of written ones
    train_set, test_set = (data.load_source("generated", split) for split in ("train", "test"))

digit = next(r["image"] for r in (train_set[i] for i in range(len(train_set))) if r["label"] == 3)
digit = jnp.asarray(digit, jnp.float32) / 255
turn = np.radians(30)
truth = jnp.array([[np.cos(turn), -np.sin(turn), 0.15], [np.sin(turn), np.cos(turn), -0.1]], jnp.float32)


def warp(image, theta):
    return ops.sample(image, ops.to_pixels(ops.affine_grid(theta, image.shape[:2]), image.shape[:2]))


def blurred(image, sigma=1.5):
    weights = jnp.exp(-(jnp.arange(-4, 5) ** 2) / (2 * sigma**2))
    for axis in (0, 1):
        smooth = jax.vmap(lambda line: jnp.convolve(line, weights / weights.sum(), mode="same"))
        image = jnp.moveaxis(smooth(jnp.moveaxis(image[..., 0], axis, 1)), 1, axis)[..., None]
    return image


crooked = warp(digit, truth)


def loss_of(theta):
    return jnp.mean((warp(blurred(crooked), theta) - blurred(digit)) ** 2)


optimiser = optax.adam(0.02)


@jax.jit
def descend(theta, state):
    loss, gradient = jax.value_and_grad(loss_of)(theta)
    updates, state = optimiser.update(gradient, state)
    return optax.apply_updates(theta, updates), state, loss


theta = jnp.eye(2, 3)
state, losses, thetas = optimiser.init(theta), [], [theta]
for _ in range(150):
    theta, state, loss = descend(theta, state)
    losses.append(float(loss))
    thetas.append(theta)

print(f"loss {losses[0]:.4f} at the identity, {losses[-1]:.6f} after {len(losses)} steps")
assert losses[-1] < 0.05 * losses[0]

# %%
figure, axes = panels(6, 2.1)
plot.draw_image(axes[0], digit, "wanted")
for axis, step in zip(axes[1:5], (0, 15, 40, 150), strict=True):
    plot.draw_image(axis, warp(crooked, thetas[step]), f"step {step}")
axes[5].semilogy(losses)
axes[5].set_title("loss", fontsize=9)
figure

# %% [markdown]
# A transformer that starts at the identity gets a gradient right away: at integer coordinates the derivative is that
# of the cell to the right, never zero by accident.

# %%
print(np.round(jax.grad(loss_of)(jnp.eye(2, 3)), 3))

# %% [markdown]
# ## A spatial transformer learns it by itself
#
# Nobody tells a spatial transformer where to look: it is put in front of a classifier and trained with the
# classifier's loss. `models.STN` is the network of the STN paper. Its digits are turned, scaled and put somewhere in a
# canvas of 42 x 42 pixels while the step runs. `python train.py --config configs/digits_stn.py` does the real thing;
# this is a taste of it.

# %%
STEPS, BATCH = (20, 64) if SMOKE else (500, 128)

shape = distort.distorted_shape("RTS", (28, 28, 1))
model = models.STN("st_fcn", shape, warp="affine", pool=2, rngs=nnx.Rngs(0))
optimiser = optax.adam(optax.cosine_decay_schedule(1.5e-3, STEPS))
graphdef, state = train.create_state(model, optimiser, seed=0)


def prepare(key, images):
    return distort.distort_batch("RTS", key, recipes.to_float(images))


step = jax.jit(train.make_train_step(graphdef, optimiser, prepare, recipes.CrossEntropy()), donate_argnums=0)
batches = data.train_batches(train_set, batch_size=BATCH, seed=0)
metrics = []
for _ in range(STEPS):
    state, figures = step(state, next(batches))
    metrics.append(figures)

history = {name: np.array([float(figures[name]) for figures in metrics]) for name in ("loss", "accuracy")}
for part in np.array_split(np.arange(STEPS), 5):
    loss, accuracy = (history[name][part].mean() for name in ("loss", "accuracy"))
    print(f"steps {part[0]:3} to {part[-1]:3}: loss {loss:.3f}, accuracy {accuracy:.3f}")

# %% [markdown]
# Test digits that it has never seen: the input, the window where the transformer looked, and what the classifier got.
# It finds the digit, centres it, and makes small ones larger.

# %%
records = [test_set[i] for i in range(200)]
inputs = distort.distort_batch(
    "RTS", jax.random.key(9), jnp.stack([recipes.to_float(jnp.asarray(record["image"])[None])[0] for record in records])
)
trained = nnx.merge(graphdef, state.params, state.statistics, copy=True)
trained.eval()
logits, out = trained(inputs)
guesses = np.array(logits.argmax(-1))
titles = [
    str(record["label"]) + ("" if guess == record["label"] else f" not {guess}")
    for record, guess in zip(records, guesses, strict=True)
]
plot.before_after(inputs[:8], out["coords"][:8], out["warped"][:8], titles)

# %%
correct = np.mean(guesses == [record["label"] for record in records])


def places(images):
    """The centre (x, y) of each digit, in pixels."""
    weights = images / images.sum((1, 2), keepdims=True)
    return jnp.einsum("nhwc,hwk->nk", weights, ops.identity_coords(images.shape[1:3]))


scatter = [float(places(images).std(0).mean()) for images in (inputs, out["warped"])]
print(f"{100 * correct:.1f} % of {len(records)} test digits are recognised")
print(f"their centres scatter by {scatter[0]:.1f} pixels before and {scatter[1]:.1f} after the transformer")
assert SMOKE or scatter[1] < 0.6 * scatter[0]

# %% [markdown]
# ## Put one into a network of your own
#
# `nn.SpatialTransformer(localiser, features)` takes any module that makes features of images, and returns the warped
# images and what there is to see. With `localiser=None` the features are given in the call, so a network can share its
# own layers with the transformer.


# %%
class Network(nnx.Module):
    def __init__(self, *, rngs):
        localiser = nnx.Sequential(lambda x: x.reshape(len(x), -1), nnx.Linear(28 * 28, 32, rngs=rngs), nnx.relu)
        self.transformer = SpatialTransformer(localiser, 32, warp="tps", shape=(20, 20), rngs=rngs)
        self.classifier = nnx.Linear(20 * 20, 10, rngs=rngs)

    def __call__(self, images):
        warped, out = self.transformer(images)
        return self.classifier(warped.reshape(len(warped), -1)), out


logits, out = Network(rngs=nnx.Rngs(0))(digit[None])
print({name: array.shape for name, array in out.items()})
