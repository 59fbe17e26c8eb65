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
# # The experiments of the spatial transformer papers
#
# Tables and figures of *Spatial Transformer Networks* (STN, Jaderberg et al. 2015) and of *The problems with using STNs
# to align CNN feature maps* (Finnveden et al. 2020), as they came out here, beside the papers' own figures.
#
# Nothing is trained below: the tables are read from `results/experiments/`, where each run left its command, commit,
# hardware, steps, time and figures. The command above each makes what is missing. The papers train for 150,000 steps on
# 60,000 digits of MNIST; here there were two CPU cores, 4,000 digits to train on and 1,000 to test on, and the schedule
# `--short`: hundreds to thousands of steps. So compare rows with each other, not with the figures in brackets.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from vtnjax import ops, plot
from vtnjax.experiments import TABLES, Runner, read_record, render
from vtnjax.experiments.checkout import find_checkout

RESULTS = find_checkout() / "results"
plt.rcParams["figure.dpi"] = 72


def table(name, suffix=",short", seeds=3):
    """What was run of a table, as Markdown."""
    runner = Runner(name, TABLES[name](), (), find_checkout() / "runs", RESULTS / "experiments")
    display(Markdown(render(runner, suffix, range(seeds))))


def picture(name, height):
    """A picture that a run left in `results/`."""
    pixels = plt.imread(RESULTS / name)
    figure = Figure(figsize=(height * pixels.shape[1] / pixels.shape[0], height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(pixels)
    axes.axis("off")
    return figure


# %% [markdown]
# ## Distorted digits: STN Table 1
#
# `python -m vtnjax.experiments stn_table1 --short`
#
# R: turned; RTS: turned, moved and scaled; P: projected; E: elastic; TC: moved among clutter. All networks have 400,000
# parameters. "linear" is the last sentence of section 3.2: M_theta B with a learned basis B.

# %%
table("stn_table1")

# %% [markdown]
# What an affine transformer does with RTS (Table 1, right), in a run of the README's first command: the input, the
# grid that was read, its top edge cyan, and what the classifier sees.

# %%
picture("digits_stn.png", 3.2)

# %% [markdown]
# And what a thin-plate spline does with elastic digits: the picture that the run of that cell with seed 0 left.

# %%
picture("stn_table1-tps-E.png", 3.2)

# %% [markdown]
# ## Sampling kernels
#
# The sampler of Eq. 3 takes any kernel with a gradient. `"nearest"` (Eq. 4) has none to the coordinates. `"bilinear"`
# (Eq. 5) has one: between pixels the slope of the line, and at a pixel, where two lines meet, that of the right one.
# Eq. 7 as printed gives there the pixel's own value, 3 at the middle of 1, 3, 4, which is no derivative.

# %%
line = jnp.asarray([1.0, 3.0, 4.0]).reshape(1, 3, 1)


def along(x, method="bilinear"):
    return ops.sample(line, jnp.stack([x, jnp.zeros_like(x)]), method=method)[0]


for x in (0.5, 1.0, 1.5):
    slopes = [float(jax.grad(along)(jnp.float32(x), method)) for method in ("bilinear", "nearest")]
    print(f"at x = {x}: bilinear slope {slopes[0]:+.1f}, nearest {slopes[1]:+.1f}")

# %% [markdown]
# A kernel two pixels wide skips pixels where a warp shrinks, as section 3.4 warns. Rings that get finer outwards are
# shrunk four times: one point for each output pixel makes rings that are not there; the mean of 4 x 4 points over what
# a pixel covers (`ops.footprint_coords`, or `nn.SpatialTransformer(..., antialias=4)`) makes grey of what is too fine.

# %%
y, x = np.mgrid[-1:1:192j, -1:1:192j]
rings = jnp.asarray((0.5 + 0.5 * np.cos(75 * (x**2 + y**2)))[:, :, None], jnp.float32)
coords = ops.to_pixels(ops.affine_grid(jnp.eye(2, 3), (48, 48)), (192, 192))
one = ops.sample(rings, coords)
many = ops.sample(rings, ops.footprint_coords(coords, 4), padding="border").mean(-2)
figure = Figure(figsize=(8, 2.9), layout="constrained")
for axes, image, title in zip(
    figure.subplots(1, 3), (rings, one, many), ("192 x 192", "48 x 48, one point", "48 x 48, 16 points"), strict=True
):
    plot.draw_image(axes, image, title)
figure

# %% [markdown]
# ## Two digits and their sum: STN Table 4
#
# `python -m vtnjax.experiments stn_addition --short`
#
# Each digit is moved on its own in a channel of its own. The rows that begin with 14 x 14 are not the paper's: they
# warp a smaller map, by one affine warp, one for each channel, or a volumetric transformer.

# %%
table("stn_addition")

# %% [markdown]
# Which digit does each of two transformers follow (Table 4, right)? `python -m vtnjax.experiments.addition
# runs/two_digits/2xst`, the workdir of a run that names both digits: the first transformer brings the first digit to
# one place in the first channel, the second the second in the second. Below, for each transformer, how the place it
# reads correlates with that of either digit.

# %%
print(read_record(RESULTS / "addition.json")["figures"]["correlation"])
picture("addition.png", 3.6)

# %% [markdown]
# ## Co-localisation: STN A.2
#
# `python -m vtnjax.experiments.colocalisation --images T --tries 1 --steps 400`, and `--images TC`
#
# What 100 images share is found without labels, by the triplet hinge of Eq. 8 in the descriptors of a digit classifier.
# Green is the digit's square, orange the window. The paper finds 100 % of the digits on black (T) and 75 to 94 % among
# clutter (TC). Here the windows' size is fixed, Eq. 8's gradient goes to one image of a pair, and the windows are moved
# at random while training, which helps among clutter. `results/colocalisation.gif` shows every 25th step among clutter.

# %%
for images in ("T", "TC"):
    paths = sorted((RESULTS / "experiments" / "colocalisation").glob(f"{images}-*.json"))
    found = [read_record(path)["figures"]["found"] for path in paths]
    print(f"{images}, digits 0 to 9: {', '.join(f'{100 * share:.0f}' for share in found)} % found")
picture("colocalisation.png", 3.6)

# %% [markdown]
# ## Digits in volumes: STN A.3
#
# `python -m vtnjax.experiments stn_volumes --short`
#
# A digit extruded to a block, turned in 3-D and moved in 60 x 60 x 60 voxels; a 3-D affine warp, and the sum over the
# depth. The paper gives no figures.

# %%
table("stn_volumes")

# %% [markdown]
# ## Feature maps or the input: Finnveden et al., Table 1
#
# `python -m vtnjax.experiments feature_maps --short`
#
# STN-C1 warps the features of the first layer, STN-SL1 the input by what a localiser makes of those features.

# %%
table("feature_maps")

# %% [markdown]
# A turned image also answers in other *channels*, which no spatial warp undoes (their Eq. 1). So STN-C1 cannot bring
# turned digits to one pose, and the angle that it undoes hardly follows the angle applied; STN-SL1's does (their Fig.
# 3).
#
# `python -m vtnjax.experiments.angles runs/feature_maps/c1 runs/feature_maps/sl1`, the workdirs of two runs

# %%
print(read_record(RESULTS / "angles.json")["figures"]["correlation"])
picture("angles.png", 3.2)

# %% [markdown]
# Two digits at five angles, and what the transformers pass on of them: of STN-C1 features, their mean drawn (their Fig.
# 2).

# %%
picture("aligned.png", 3.2)
