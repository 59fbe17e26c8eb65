"""Loading weights: every name and shape of torchvision's and timm's models, every kind of source, and every error."""

import sys
import types

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from drawn_backbones import SHAPES, abstract, build, create
from flax import nnx

from vtnjax.models import imagenet_input, load_pretrained


@pytest.fixture(scope="module")
def arrays():
    return drawn.weights(SHAPES["resnet18"])


@pytest.fixture(scope="module")
def resnet18():
    return build("resnet18")


def state_of(backbone):
    return {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(backbone))}


def assert_same(one, other):
    one, other = state_of(one), state_of(other)
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[path], other[path]) for path in one)


def constants(name):
    """Each array full of a number of its own, so that one in another's place shows; they take no memory."""
    return {key: np.broadcast_to(np.float16(i / 1024), shape) for i, (key, shape) in enumerate(SHAPES[name].items(), 1)}


# ---- Names, shapes and layout

HEADS = {
    "resnet": {"fc.weight", "fc.bias"},
    "vgg": {f"classifier.{i}.{leaf}" for i in (0, 3, 6) for leaf in ("weight", "bias")},
    "squeezenet": set(),
    "googlenet": {key for key in SHAPES["googlenet"] if key.startswith(("fc.", "aux1.", "aux2."))},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_every_weight_of_torchvision_has_one_place(name):
    backbone, given = abstract(name), constants(name)
    load_pretrained(backbone, given)
    head = next(head for kind, head in HEADS.items() if name.startswith(kind))
    expected = [array.max() for key, array in given.items() if key not in head and "num_batches" not in key]
    found = [leaf.max() for leaf in state_of(backbone).values()]
    assert sorted(found) == sorted(expected)
    assert len(set(found)) == len(found)


@pytest.mark.slow
def test_arrays_go_where_their_names_say(arrays, resnet18):
    state = state_of(resnet18)
    assert state["stem", "conv", "kernel"][5, 1, 2, 40] == arrays["conv1.weight"][40, 2, 5, 1]
    kernel = arrays["layer2.0.downsample.0.weight"]
    np.testing.assert_array_equal(state["stages", 1, 0, "shortcut", "conv", "kernel"], kernel.transpose(2, 3, 1, 0))
    leaves = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for ours, theirs in leaves.items():
        found = state["stages", 3, 1, "layers", 1, "norm", ours]
        np.testing.assert_array_equal(found, arrays[f"layer4.1.bn2.{theirs}"])


@pytest.mark.slow
def test_a_backbone_is_changed_in_place_also_inside_another_module():
    class Classifier(nnx.Module):
        def __init__(self):
            self.backbone = create("squeezenet1_1", classes=None, param_dtype=jnp.bfloat16)

    model = nnx.eval_shape(Classifier)
    load_pretrained(model.backbone, constants("squeezenet1_1"))
    bias = model.backbone.conv1.conv.bias[...]
    assert bias.dtype == jnp.bfloat16
    np.testing.assert_array_equal(bias.astype(np.float32), np.full(64, 2 / 1024, np.float32))


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_the_classifier_of_timms_vgg_is_left_out_too(name):
    given = {key: array for key, array in constants(name).items() if key.startswith("features")}
    for layer in ("pre_logits.fc1", "pre_logits.fc2", "head.fc"):
        given |= {f"{layer}.{leaf}": np.zeros((2, 3), np.float32) for leaf in ("weight", "bias")}
    trunk = abstract(name)
    load_pretrained(trunk, given)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(nnx.state(trunk)))


def test_a_file_without_its_classifier_fits(arrays, resnet18):
    backbone = abstract("resnet18")
    load_pretrained(backbone, {key: array for key, array in arrays.items() if not key.startswith("fc")})
    assert_same(backbone, resnet18)


def test_names_under_module_are_stripped_with_a_word(arrays, resnet18):
    backbone = abstract("resnet18")
    with pytest.warns(UserWarning, match=r"^the arrays: every name begins with 'module\.', which is left out$"):
        load_pretrained(backbone, {f"module.{key}": array for key, array in arrays.items()})
    assert_same(backbone, resnet18)


# ---- What does not fit


def change(arrays, *, without=(), **more):
    return {key: array for key, array in arrays.items() if key not in without} | more


def assert_refused(backbone, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(backbone, given)


def test_a_misspelt_name_is_missing_and_left_over(arrays, resnet18):
    before, given = state_of(resnet18), change(arrays, without=["layer3.1.bn2.running_var"])
    given["layer3.1.bn2.running_variance"] = arrays["layer3.1.bn2.running_var"]
    assert_refused(
        resnet18,
        {key: 2 * array for key, array in given.items()},
        r"the arrays must hold every weight of resnet18 and no others; missing: layer3\.1\.bn2\.running_var; "
        r"left over: layer3\.1\.bn2\.running_variance$",
    )
    assert all(np.array_equal(before[path], after) for path, after in state_of(resnet18).items())


@pytest.mark.parametrize("key", ["conv1.weight", "bn1.bias", "layer2.0.downsample.1.weight", "layer4.1.conv2.weight"])
@pytest.mark.daily("layer4.1.conv2.weight")
def test_every_weight_must_be_there(arrays, key):
    assert_refused(abstract("resnet18"), change(arrays, without=[key]), f"; missing: {key}$")


@pytest.mark.parametrize(
    "key", ["fc2.weight", "fc.scale.weight", "layer1.0.downsample.0.weight", "classifier.0.weight"]
)
@pytest.mark.daily("fc2.weight")
def test_nothing_but_the_classifier_may_be_left_over(arrays, key):
    assert_refused(abstract("resnet18"), change(arrays, **{key: np.zeros(3)}), f"; left over: {key}$")


@pytest.mark.parametrize(
    ("without", "more", "sentence"),
    [
        (["inception4d.branch3.1.bn.running_mean"], {}, r"missing: inception4d\.branch3\.1\.bn\.running_mean$"),
        ([], {"aux3.fc1.weight": (2, 3)}, r"left over: aux3\.fc1\.weight$"),
        ([], {"inception4d.branch3.2.conv.weight": (2, 3, 1, 1)}, r"left over: inception4d\.branch3\.2\.conv\.weight$"),
        (
            [],
            {"inception3a.branch3.1.conv.weight": (32, 16, 5, 5)},
            r"of another shape: inception3a\.branch3\.1\.conv\.weight \(32, 16, 5, 5\), not \(32, 16, 3, 3\)$",
        ),
    ],
)
@pytest.mark.daily("without1-*")
def test_a_googlenets_weights_that_do_not_fit_are_named(without, more, sentence):
    given = change(constants("googlenet"), without=without, **{key: np.zeros(shape) for key, shape in more.items()})
    assert_refused(abstract("googlenet"), given, f"every weight of googlenet and no others; {sentence}")


@pytest.mark.slow
def test_a_googlenet_without_its_three_classifiers_fits():
    given = {key: array for key, array in constants("googlenet").items() if key not in HEADS["googlenet"]}
    trunk = abstract("googlenet")
    load_pretrained(trunk, given)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(nnx.state(trunk)))


def test_another_shape_is_named_with_the_right_one(arrays):
    kernel = arrays["conv1.weight"][:, :, 1:, 1:]
    given = change(arrays, **{"conv1.weight": kernel, "bn1.bias": np.zeros((64, 1))})
    sentence = (
        r"of another shape: conv1\.weight \(64, 3, 6, 6\), not \(64, 3, 7, 7\), bn1\.bias \(64, 1\), not \(64,\)$"
    )
    assert_refused(abstract("resnet18"), given, sentence)


def test_the_weights_of_another_network_are_refused_without_listing_them_all(arrays):
    sentence = r"weight of vgg16 and .*; missing: (features\S+ ){19}features\S+ and 6 more; left over: .* and \d+ more$"
    assert_refused(abstract("vgg16"), arrays, sentence)


def test_only_what_is_before_every_name_is_stripped(arrays):
    given = {f"module.{key}" if key == "conv1.weight" else key: array for key, array in arrays.items()}
    assert_refused(abstract("resnet18"), given, r"missing: conv1\.weight; left over: module\.conv1\.weight$")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["conv1.weight", "layer4.1.bn2.running_var"])
def test_weights_that_are_no_finite_numbers_are_refused_by_name(arrays, resnet18, key, bad):
    before, array = state_of(resnet18), 2 * arrays[key]
    array.flat[-1] = bad
    sentence = f"^the arrays must hold finite numbers, but these hold NaN or infinity: {key}$"
    assert_refused(resnet18, change(arrays, **{key: array}), sentence)
    assert all(np.array_equal(before[path], after) for path, after in state_of(resnet18).items())


def test_a_classifier_that_is_not_read_may_be_no_number(arrays):
    trunk = abstract("resnet18")
    load_pretrained(trunk, change(arrays, **{"fc.weight": np.full((1000, 512), np.nan, np.float32)}))
    assert all(np.isfinite(array).all() for array in state_of(trunk).values())


def test_a_classifier_of_other_classes_is_refused():
    assert_refused(
        abstract("squeezenet1_1", classes=10), constants("squeezenet1_1"), r"\(1000, 512, 1, 1\), not \(10, 512, 1"
    )


def test_something_else_than_a_backbone_is_refused(arrays, untyped):
    assert_refused(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), arrays, "backbone must be a ResNet, a VGG, .*, not a Linear")


# ---- Files


@pytest.fixture(scope="module")
def file(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors.numpy.save_file(arrays, path)
    return path


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_safetensors_file(file, resnet18, kind):
    backbone = abstract("resnet18")
    load_pretrained(backbone, kind(file))
    assert_same(backbone, resnet18)


def test_a_file_that_does_not_fit_is_named(file):
    assert_refused(abstract("vgg16"), file, r"'.*model\.safetensors' must hold every weight of vgg16")


@pytest.mark.parametrize("name", ["nothing.safetensors", "some/where/nothing.pth"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"there is no file of weights '.*{name}'"):
        load_pretrained(abstract("resnet18"), tmp_path / name)


def test_a_missing_file_in_a_folder_is_no_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file of weights 'weights/resnet18\.pth'"):
        load_pretrained(abstract("resnet18"), "weights/resnet18.pth")


@pytest.mark.parametrize("name", ["resnet18", "model.h5", "weights/model.tar", "weights", "pth"])
@pytest.mark.daily("pth")
def test_another_kind_of_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.tar").touch()
    kinds = r"\.safetensors, \.pth, \.pt, \.bin, \.ckpt or \.pth\.tar file"
    assert_refused(abstract("resnet18"), name, rf"weights must be a {kinds}, a model .*, not '{name}'$")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"<html>" + data, lambda data: b""])
@pytest.mark.daily("<lambda>2")
def test_a_damaged_safetensors_file_is_refused(file, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(file.read_bytes()))
    assert_refused(
        abstract("resnet18"), path, r"model\.safetensors' is not a whole safetensors file \(.*\): download it again"
    )


@pytest.mark.parametrize(
    ("package", "source", "sentence"),
    [
        *(
            (
                "torch",
                f"model{kind}",
                rf"model\{kind} is a PyTorch file, and torch is not installed: pip install torch, or",
            )
            for kind in (".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
        ),
        ("safetensors", "model.safetensors", r'safetensors is not installed: pip install "vtnjax\[hub\]"'),
        ("huggingface_hub", "timm/resnet18", r'huggingface_hub is not installed: pip install "vtnjax\[hub\]"'),
    ],
)
@pytest.mark.daily("torch-model.bin-*")
def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch, package, source, sentence):
    monkeypatch.chdir(tmp_path)
    if source.startswith("model"):
        (tmp_path / source).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=sentence):
        load_pretrained(abstract("resnet18"), source)


# ---- The hub


def hub(monkeypatch, download):
    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_model_of_the_hub(file, resnet18, monkeypatch):
    asked, backbone = [], abstract("resnet18")
    hub(monkeypatch, lambda *names: asked.append(names) or str(file))
    load_pretrained(backbone, "timm/resnet18.tv_in1k")
    assert asked == [("timm/resnet18.tv_in1k", "model.safetensors")]
    assert_same(backbone, resnet18)


@pytest.mark.parametrize("error", [ConnectionError, ValueError])
def test_without_a_network_the_address_of_the_file_is_given(monkeypatch, error):
    def download(*names):
        raise error("offline")

    hub(monkeypatch, download)
    sentence = (
        r"'timm/resnet18\.tv_in1k' is no file here, and .* \(\w+: offline\)\. .*/timm/resnet18.tv_in1k/resolve/main/"
    )
    with pytest.raises(FileNotFoundError, match=sentence):
        load_pretrained(abstract("resnet18"), "timm/resnet18.tv_in1k")


def test_the_hubs_own_package_says_that_it_is_offline(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"'timm/resnet18' is no file here, .*\(LocalEntryNotFoundError"):
        load_pretrained(abstract("resnet18"), "timm/resnet18")


# ---- The images they expect


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_convention_images_are_rgb_less_imagenets_mean_over_its_deviation(dtype):
    image = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    expected = (image - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    found = imagenet_input(jnp.asarray(image, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=1e-5 if dtype == jnp.float32 else 0.05)
