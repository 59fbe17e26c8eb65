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
# # Retrieval: which images show the thing of the query?
#
# A **global descriptor** is one vector for an image, and two images are compared by a product. **Local features** are
# many, each with a place, so that a search can ask whether they lie alike in both images. This notebook shows both,
# what fine-tuning changes, and what a volumetric transformer (VTN) reads.

# %%
# %matplotlib inline
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

import vtnjax
from vtnjax import data, evaluate, ops, plot, retrieval
from vtnjax.data.drawn_landmarks import write_landmarks
from vtnjax.experiments.checkout import find_checkout
from vtnjax.ops.pooling import regional_maxima, unit

SMOKE = bool(os.environ.get("SMOKE"))  # a quick run, for tests
plt.rcParams["figure.dpi"] = 72

# %% [markdown]
# ## A benchmark
#
# Each query has images that show its thing easily, others where it is hard to see, and junk, which counts neither way.
# The pictures are drawn. With the stamps of Tux Paint, `NAME, FOLDER = "scenes", "/usr/share/tuxpaint/stamps"` searches
# among photographs, and everything below takes longer.

# %%
NAME, FOLDER, SIZE = "drawn:scenes", "", 64
BENCHMARK = data.load_benchmark(NAME, data_dir=FOLDER, size=SIZE)
print(f"{len(BENCHMARK.queries)} queries, {len(BENCHMARK.database)} images are searched")
figure = Figure(figsize=(9, 2), layout="constrained")
TRUTH = BENCHMARK.ground_truth[0]
SHOWN = [("query", BENCHMARK.queries[0])]
SHOWN += [(kind, BENCHMARK.database[i]) for kind in ("easy", "hard", "junk") for i in TRUTH[kind][:2]]
for axes, (kind, image) in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
    plot.draw_image(axes, image, kind)
figure

# %% [markdown]
# ## Global descriptors, before and after fine-tuning
#
# A small trunk, a VTN and a GeM pooling learn from tuples of a query, an image of the same thing and one of another
# thing, by `configs/retrieval.py`. The things in the benchmark are others than those in training. A run in `WORKDIR`
# is read where there is one, and else a short one is trained. "Before" is the network that training begins with, whose
# weights nobody trained.

# %%
WORKDIR, STEPS = Path("../runs/retrieval"), 10 if SMOKE else 40


def load_or_train(workdir, steps):
    """A run of the config, of so many steps."""
    if (workdir / "checkpoints").is_dir():
        return vtnjax.load_run(workdir)
    options = {"steps": steps, "eval_every": max(steps, 1), "learning_rate": 1e-3, "batch_size": 18}
    options |= {"network.trunk.name": "small", "network.scale": 1.0, "network.warp.groups": 4}
    options |= {"source_options.count": 60, "batches.queries": 24, "batches.pool": 48, "batches.renew_every": 20}
    config = f"{find_checkout() / 'configs' / 'retrieval.py'}:smoke,dataset=scenes,warp=vtn"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, find_checkout() / "train.py", "--config", config, "--workdir", folder]
        words = [f"--config.{name}={value}" for name, value in options.items()]
        subprocess.run([*command, *words], check=True, capture_output=True)
        return vtnjax.load_run(folder)


RUNS = {"before": load_or_train(WORKDIR.with_name("retrieval_off"), 0), "after": load_or_train(WORKDIR, STEPS)}
NETWORK = RUNS["after"].model
FIGURES, BEST = {}, {}
for name, run in RUNS.items():
    evaluation = evaluate.Retrieval(NAME, data_dir=FOLDER, size=SIZE, opened=BENCHMARK)
    evaluation = evaluation.prepared_by(lambda images, run=run: run.as_input(images))
    FIGURES[name] = evaluation(run.model, list)
    BEST[name] = evaluation.best()["retrieved"]
    print(name, {kind: round(FIGURES[name][f"map_{kind}"], 3) for kind in ("easy", "medium", "hard")})

# %% [markdown]
# A green frame is right, red is wrong and grey is junk. The mean average precision (mAP) above is over all queries.

# %%
WHICH = (0, 1)
plot.retrieved(
    [BEST[name]["queries"][i] for i in WHICH for name in RUNS],
    [BEST[name]["found"][i] for i in WHICH for name in RUNS],
    [BEST[name]["kinds"][i] for i in WHICH for name in RUNS],
    titles=[name for _ in WHICH for name in RUNS],
)

# %% [markdown]
# ## The regions of R-MAC
#
# R-MAC adds up the maxima of square regions of the map, on three levels, each brought to length 1. So the similarity
# of two images is a sum over pairs of regions. Left are all regions of the query; then, of the parts of the map, the
# three pairs that give most, each pair in its own colour.


# %%
def regions_of(shape, pixels):
    """The boxes (left, top, right, bottom) of the regions of a map, in pixels of its image."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    right, bottom, left, top = np.asarray(regional_maxima(jnp.asarray(np.stack([x, y, -x, -y], -1)))).T
    edges = np.stack([-left, -top, right + 1, bottom + 1], axis=1)
    return edges * (pixels / shape[0]) - 0.5


PAIR = [BENCHMARK.queries[0], BENCHMARK.database[TRUTH["easy"][0]]]
PREPARED = np.concatenate([RUNS["after"].prepare(image) for image in PAIR])
_, OUT = RUNS["after"].forward(PREPARED)
FEATURES = jnp.asarray(OUT["features"])  # (2, h, w, c), before any warp
VECTORS = [np.asarray(unit(regional_maxima(features))) for features in FEATURES]
SHARES = VECTORS[0] @ VECTORS[1].T
SHARES = SHARES / np.linalg.norm(VECTORS[0].sum(0)) / np.linalg.norm(VECTORS[1].sum(0))
BOXES = regions_of(FEATURES.shape[1:3], SIZE)
WHOLE = [np.asarray(ops.rmac(features)) for features in FEATURES]
COSINE = WHOLE[0] @ WHOLE[1] / np.linalg.norm(WHOLE[0]) / np.linalg.norm(WHOLE[1])
print(f"{len(BOXES)} regions with the whole map; their {SHARES.size} pairs add up to {SHARES.sum():.4f}")
print(f"the product of both descriptors is {COSINE:.4f}")

figure = Figure(figsize=(9, 3), layout="constrained")
axes = figure.subplots(1, 3)
for each, image, title in zip(axes, (PAIR[0], *PAIR), ("all regions", "query", "match"), strict=True):
    plot.draw_image(each, image, title)
for box in BOXES:
    plot.draw_box(axes[0], box, "white", width=0.7)
PARTS = SHARES[2:, 2:]  # without the whole map, and the first square, which is the whole of a square map
for place, colour in zip(np.argsort(-PARTS, axis=None)[:3], ("red", "gold", "cyan"), strict=True):
    for each, number in zip(axes[1:], np.unravel_index(place, PARTS.shape), strict=True):
        plot.draw_box(each, BOXES[2 + number], colour, width=2.0)
figure

# %% [markdown]
# ## Local features
#
# Local features need texture, which drawn stamps have not, so this part searches among drawn landmarks. A trained DELF
# gives features by `evaluate.local_features`, see `docs/retrieval.md`; here they are OpenCV's SIFT, which nobody needs
# to train. A circle shows a feature's scale.

# %%
LANDMARKS = data.load_benchmark("drawn:roxford5k", size=160)


def local_features(image):
    """SIFT of an image enlarged twice, at length 1, the strongest first."""
    grey = cv2.cvtColor(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
    points, descriptors = cv2.SIFT_create().detectAndCompute(grey, None)
    places = (np.array([point.pt for point in points], np.float32).reshape(-1, 2) + 0.5) / 2 - 0.5
    descriptors = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    lengths = np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9)
    scores, scales = (np.array([getattr(point, name) for point in points]) for name in ("response", "size"))
    return retrieval.LocalFeatures(places, descriptors / lengths, scores, scales / 2).best(300)


QUERIES = [local_features(image) for image in LANDMARKS.queries]
FOUND = [local_features(image) for image in LANDMARKS.database]
figure = Figure(figsize=(9, 3), layout="constrained")
for axes, image, found in zip(figure.subplots(1, 3), LANDMARKS.database, FOUND, strict=False):
    plot.draw_image(axes, image, f"{len(found.scales)} features")
    axes.scatter(*found.keypoints.T, s=found.scales**2, facecolors="none", edgecolors="lime", linewidths=0.7)
figure

# %% [markdown]
# ## Search and spatial verification
#
# ASMK compares two images word by word. Then verification asks of the best images how many matches one affine map
# explains, its **inliers**, and orders them by this. The words are the centres of k-means over features of other
# pictures, which takes faiss (`pip install "vtnjax[retrieval]"`); without it they are some of these features.

# %%
rng = np.random.default_rng(0)
with tempfile.TemporaryDirectory() as folder:
    write_landmarks("roxford5k", folder, landmarks=6, seed=1)
    OTHERS = data.load_benchmark("roxford5k", data_dir=folder, size=160)
    LEARNED = np.concatenate([local_features(image).descriptors for image in OTHERS.database])
if importlib.util.find_spec("faiss"):
    CODEBOOK = retrieval.train_codebook(LEARNED, 64)
else:
    print("faiss is not installed: the words are 64 features as they are")
    CODEBOOK = rng.permutation(LEARNED)[:64]
SEARCH = retrieval.build_local_search(CODEBOOK, FOUND)
OPTIONS = {"distance": 0.6, "threshold": 4.0}
RANKED = {
    name: np.stack(
        [
            SEARCH.rank(query, best=best, junk=truth["junk"], **OPTIONS)
            for query, truth in zip(QUERIES, LANDMARKS.ground_truth, strict=True)
        ]
    )
    for name, best in {"ASMK*": 0, "verified": 100}.items()
}
for name, ranking in RANKED.items():
    print(f"{name}: mAP {evaluate.revisited(ranking, LANDMARKS.ground_truth, protocol='medium')['map']:.3f}")


def kind(image, truth):
    right = image in (*truth["easy"], *truth["hard"])
    return "right" if right else "junk" if image in truth["junk"] else "wrong"


ROWS = [(query, name, RANKED[name][query][:5].tolist()) for query in WHICH for name in RANKED]
plot.retrieved(
    [LANDMARKS.queries[query] for query, *_ in ROWS],
    [[LANDMARKS.database[image] for image in best] for *_, best in ROWS],
    [[kind(image, LANDMARKS.ground_truth[query]) for image in best] for query, _, best in ROWS],
    titles=[name for _, name, _ in ROWS],
)

# %% [markdown]
# Here are the matches between the first query and a right image, and between it and an image of another landmark.
# Inliers are green, and the matches that the best map leaves out are red.

# %%
RIGHT, WRONG = LANDMARKS.ground_truth[0]["easy"][0], LANDMARKS.ground_truth[1]["easy"][0]
INLIERS = {}
figure = Figure(figsize=(9, 3), layout="constrained")
for axes, (title, image) in zip(figure.subplots(1, 2), {"right": RIGHT, "wrong": WRONG}.items(), strict=True):
    matches, fit = SEARCH.verify(QUERIES[0], image, **OPTIONS)
    left, right = LANDMARKS.queries[0], LANDMARKS.database[image]
    both = np.full((max(len(left), len(right)), left.shape[1] + right.shape[1], 3), 255, np.uint8)
    both[: len(left), : left.shape[1]], both[: len(right), left.shape[1] :] = left, right
    INLIERS[title] = int(fit.inliers.sum())
    plot.draw_image(axes, both, f"{title}: {INLIERS[title]} of {len(matches)} matches are inliers")
    ends = QUERIES[0].keypoints[matches[:, 0]], FOUND[image].keypoints[matches[:, 1]] + [left.shape[1], 0]
    colours = np.where(fit.inliers, "lime", "red")
    axes.add_collection(LineCollection(list(np.stack(ends, axis=1)), colors=colours, linewidths=0.8))
figure

# %% [markdown]
# ## What the groups of a VTN read
#
# A VTN warps each group of channels by a field of its own. Below are the same stamp in two images, and the first four
# groups of the network that was fine-tuned above: a dot lies where a place of the warped map reads, in the colour of
# that place, as in Fig. 7 of VTN, and black is where a field folds. Where dots of one colour lie on the same part in
# both images, the fields have aligned it; a run as short as this one moves little.

# %%
figure = Figure(figsize=(9, 4), layout="constrained")
for row, image, fields in zip(figure.subplots(2, 5), PAIR, OUT["coords"], strict=True):
    plot.draw_image(row[0], image, "input")
    for group, axes in enumerate(row[1:]):
        plot.draw_sources(axes, image, fields[:, :, group])
        axes.set_title(f"group {group}", fontsize=8)
figure
