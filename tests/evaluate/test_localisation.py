"""Figures of localisation against a plain loop over the records."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import ndimage

from vtnjax import data, evaluate

CLASSES, SIZE, CHANNELS = tuple("abcdefg"), 24, 3
COUNT = 37


class Network(nnx.Module):
    """Means of 4 x 4 pixels, their mean and one linear layer, whose heat is a class activation map."""

    def __init__(self):
        self.weights = nnx.Param(np.random.default_rng(1).normal(size=(CHANNELS, len(CLASSES))).astype(np.float32))

    def features(self, image):
        n, h, w, c = image.shape
        return image.reshape(n, h // 4, 4, w // 4, 4, c).mean((2, 4))

    def classify(self, features):
        return features.mean((1, 2)) @ self.weights, {}


def guesses(images):
    return (images.mean((1, 2)) @ np.asarray(Network().weights)).argmax(-1)


class Objects(data.Arrays):
    """Images of noise with a bright rectangle, its box, and its mask or none."""

    def __init__(self, count=COUNT, *, masks=True):
        rng = np.random.default_rng(count)
        corners = rng.integers(0, 12, (count, 2))
        self.boxes = np.concatenate([corners, corners + rng.integers(6, 13, (count, 2))], axis=1).astype(np.float32)
        self.boxes[3] = 0  # an object that nothing is seen of
        images = rng.uniform(0, 0.05, (count, SIZE, SIZE, CHANNELS)).astype(np.float32)
        self.masks = np.zeros((count, SIZE, SIZE), bool)
        for image, mask, (left, top, right, bottom) in zip(images, self.masks, self.boxes.astype(int), strict=True):
            image[top:bottom, left:right] += rng.uniform(0, 0.9, CHANNELS)
            mask[top:bottom, left:right] = True
        images[5] = 0  # nothing to see: no heat
        labels = np.where(rng.random(count) < 0.5, rng.integers(0, len(CLASSES), count), guesses(images))
        super().__init__(np.clip(images, 0, 1), labels, CLASSES)
        self.has_masks = masks

    def __getitem__(self, index):
        more = {"mask": self.masks[index]} if self.has_masks else {}
        return {**super().__getitem__(index), "box": self.boxes[index], **more}


class Called(Network):
    """The same, of which there may be figures of classification too."""

    def __call__(self, image):
        return self.classify(self.features(image))


def looped(source, threshold, *, guess=False):
    """The figures, one record after the other, and the thresholds' shares by themselves."""
    seen, weights = [], np.asarray(Network().weights, np.float64)
    for index in range(len(source)):
        record = source[index]
        cells = record["image"].astype(np.float64).reshape(6, 4, 6, 4, CHANNELS).mean((1, 3))
        logits = cells.mean((0, 1)) @ weights
        order = list(np.argsort(-logits))
        of = order[0] if guess else record["label"]
        heat = cv2.resize(np.maximum(cells @ weights[:, of], 0) / 36, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        right = [is_right(heat, share, record["box"]) for share in (threshold, *(np.arange(20) / 20))]
        inside = heat[record["mask"]].sum() / heat.sum() if heat.any() and "mask" in record else 0
        loss = np.log(np.exp(logits).sum()) - logits[record["label"]]
        seen.append((order[0] == record["label"], record["label"] in order[:5], right, inside, loss))
    first, among, right, inside, loss = (np.array(each) for each in zip(*seen, strict=True))
    return {
        "loss": loss.mean(),
        "accuracy": first.mean(),
        "top5_accuracy": among.mean(),
        "gt_known": right[:, 0].mean(),
        "top1_localisation": (first & right[:, 0]).mean(),
        "top5_localisation": (among & right[:, 0]).mean(),
        "max_box_acc": max(right[:, 1:].mean(0)),
        "inside": inside.mean(),
    }


def is_right(heat, share, box):
    """Whether half of what two boxes cover is shared, by counting pixels."""
    labels, count = ndimage.label(heat > share * heat.max(), np.ones((3, 3)))
    if not count:
        return False
    sizes = [(labels == label).sum() for label in range(1, count + 1)]
    rows, columns = np.nonzero(labels == 1 + sizes.index(max(sizes)))
    found, true = np.zeros((2, SIZE, SIZE), bool)
    found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    left, top, right, bottom = box.astype(int)
    true[top:bottom, left:right] = True
    return 2 * (found & true).sum() >= (found | true).sum()


def score(evaluation, source, batch_size=8, model=None):
    batches = [jax.tree.map(jnp.asarray, b) for b in data.eval_batches(source, batch_size=batch_size)]
    return evaluation.of(source)(Network() if model is None else model, lambda: batches)


@pytest.mark.parametrize("threshold", [0.15, 0.3])
@pytest.mark.parametrize("heat_of", ["label", "guess"])
@pytest.mark.daily("label-0.3")
def test_figures_are_those_of_a_loop_over_the_records(threshold, heat_of):
    source = Objects()
    found = score(evaluate.Localisation(threshold=threshold, heat_of=heat_of), source)
    expected = looped(source, threshold, guess=heat_of == "guess")
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["top1_localisation"] < expected["top5_localisation"] <= expected["gt_known"]
    assert expected["gt_known"] < expected["max_box_acc"] < 1


@pytest.mark.slow
def test_batches_and_what_fills_them_up_make_no_difference():
    source = Objects()
    assert score(evaluate.Localisation(), source, COUNT) == pytest.approx(score(evaluate.Localisation(), source, 5))


def test_by_default_heat_of_the_true_class_above_15_percent_is_taken():
    source = Objects()
    assert score(evaluate.Localisation(), source) == pytest.approx(looped(source, 0.15), rel=1e-5)
    assert evaluate.Localisation().how == "boxes of the true class's heat above 15 % of its maximum"
    guessed = evaluate.Localisation(threshold=0.2, heat_of="guess")
    assert guessed.how == "boxes of the likeliest class's heat above 20 % of its maximum"
    assert guessed.figure == "accuracy"


def test_without_masks_nothing_is_said_of_the_heat_inside_them():
    found = score(evaluate.Localisation(), Objects(masks=False))
    assert found == pytest.approx({k: v for k, v in looped(Objects(), 0.15).items() if k != "inside"}, rel=1e-5)


def test_loss_and_accuracy_are_those_of_classification():
    plain = score(evaluate.Classification(), Objects(), model=Called())
    found = score(evaluate.Localisation(), Objects())
    assert {name: found[name] for name in plain} == pytest.approx(plain, rel=1e-6)


class SquaredFirst(Network):
    """A map of squares."""

    def features(self, image):
        return super().features(image) ** 2


class SquaredLast(Network):
    """The same logits, whose gradient is another at each position."""

    def classify(self, features):
        return super().classify(features**2)


@pytest.mark.slow
def test_heat_may_be_weighted_at_each_position():
    expected = score(evaluate.Localisation(), Objects(), model=SquaredFirst())
    found = score(evaluate.Localisation(method="hires_cam"), Objects(), model=SquaredLast())
    assert found == pytest.approx(expected, rel=1e-5)
    assert score(evaluate.Localisation(), Objects(), model=SquaredLast())["inside"] != pytest.approx(found["inside"])


def test_what_cannot_be_localised_is_refused():
    plain = data.Arrays(Objects().images, Objects().labels, CLASSES)
    said = "the test set must have boxes, as cub, cars, aircraft and scenes have, not "
    with pytest.raises(ValueError, match=f"{said}Arrays"):
        evaluate.Localisation().of(plain)
    with pytest.raises(ValueError, match=f"{said}images without any"):
        evaluate.Localisation()(Network(), lambda: data.eval_batches(plain, batch_size=8))
    with pytest.raises(ValueError, match="test must give at least one record, not none"):
        evaluate.Localisation()(Network(), list)
    batch = next(data.eval_batches(Objects(), batch_size=4))
    with pytest.raises(ValueError, match="test must give at least one record, not none"):
        evaluate.Localisation()(Network(), lambda: [batch | {"mask": np.zeros(4, np.float32)}])
    averaged = evaluate.Averaged([Called()], [lambda image: image])
    for ask in (
        lambda: score(evaluate.Localisation(), Objects(), model=averaged),
        lambda: evaluate.Localisation().check(averaged),
    ):
        with pytest.raises(ValueError, match=r"the network must be one trunk and a classifier .* not Averaged"):
            ask()


@pytest.mark.usefixtures("untyped")
def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="threshold must be at least 0 and below 1, not 1"):
        evaluate.Localisation(threshold=1.0)
    with pytest.raises(
        ValueError, match=r"heat_of must be one of 'label', 'guess', not 'lable'; did you mean 'label'\?"
    ):
        evaluate.Localisation(heat_of="lable")
    with pytest.raises(ValueError, match="method must be one of 'grad_cam', 'hires_cam', not 'cam'"):
        evaluate.Localisation(method="cam")


@pytest.mark.slow
def test_boxes_of_maps_are_those_of_the_resized_ones():
    heat = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    found = evaluate.heat_boxes(heat, (30, 50), threshold=0.6)
    for each, box in zip(heat, found, strict=True):
        resized = cv2.resize(each, (50, 30), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(box, evaluate.largest_box(resized, threshold=0.6))
    assert evaluate.heat_boxes(heat, (30, 50)).tolist() == evaluate.heat_boxes(heat, (30, 50), threshold=0.15).tolist()


@pytest.mark.parametrize(("bottom", "right"), [(11.5, 0), (12, 1), (12.5, 1)])
@pytest.mark.daily("12-1")
def test_half_an_overlap_is_right(bottom, right):
    image = np.ones((1, SIZE, SIZE, CHANNELS), np.float32)  # whose heat has one box, the whole image
    label, box = guesses(image), np.array([[0, 0, SIZE, bottom]], np.float32)
    batch = {"image": image, "label": label, "box": box, "mask": np.ones(1, np.float32)}
    assert evaluate.Localisation()(Network(), lambda: [jax.tree.map(jnp.asarray, batch)])["gt_known"] == right
