import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax import data, evaluate
from vtnjax.evaluate import classification


class Table(nnx.Module):
    """Logits read from the image, and a dropout that must not act in evaluation."""

    def __init__(self):
        self.dropout = nnx.Dropout(0.9, rngs=nnx.Rngs(0))

    def __call__(self, image):
        return self.dropout(image.reshape(len(image), -1)), {}


def score(images, labels, batch_size, **options):
    model = Table()
    model.eval()
    source = data.Arrays(images, labels, ("a", "b", "c"))
    batches = [jax.tree.map(jnp.asarray, b) for b in data.eval_batches(source, batch_size=batch_size)]
    return evaluate.Classification(**options)(model, lambda: batches)


def test_logits_of_mirror_images_are_averaged_in():
    images = np.random.default_rng(0).normal(size=(7, 1, 3, 1)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2, 0])
    mean = (images + images[:, :, ::-1]) / 2
    assert score(images, labels, 3, flip=True) == pytest.approx(score(mean, labels, 3))
    assert score(images, labels, 3, flip=True) != pytest.approx(score(images, labels, 3))
    assert evaluate.Classification(flip=True).how == "of images and their mirror images"
    assert evaluate.Classification().how == ""


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
@pytest.mark.daily("3")
def test_loss_and_accuracy_are_means_over_the_records_whatever_the_batches(batch_size):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, 1, 1, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 7)
    flat = logits.reshape(7, 3).astype(np.float64)
    chosen = np.log(np.exp(flat).sum(1)) - flat[np.arange(7), labels]
    figures = score(logits, labels, batch_size)
    assert figures["loss"] == pytest.approx(chosen.mean(), rel=1e-6)
    assert figures["accuracy"] == pytest.approx((flat.argmax(1) == labels).mean(), rel=1e-12)


def test_few_batches_are_ahead_of_the_first_result_that_is_waited_for(monkeypatch):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 1, 1, 3)).astype(np.float32), rng.integers(0, 3, 40)
    whole = score(logits, labels, 40)
    score_batch, device_get = classification._score, jax.device_get
    ahead, most = 0, 0

    def begin(*arguments):
        nonlocal ahead, most
        ahead += 1
        most = max(most, ahead)
        return score_batch(*arguments)

    def wait(results):
        nonlocal ahead
        ahead -= len(results) if isinstance(results, list) else 1
        return device_get(results)

    monkeypatch.setattr(classification, "_score", begin)
    monkeypatch.setattr(jax, "device_get", wait)
    assert score(logits, labels, 1) == pytest.approx(whole, rel=1e-6)
    assert ahead == 0
    assert 1 < most < 32  # more than 32 stop processes that share a computation on CPUs


def test_nothing_to_score_is_an_error():
    with pytest.raises(ValueError, match="test must give at least one record, not none"):
        evaluate.Classification()(Table(), list)
