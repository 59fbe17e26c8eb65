"""Torchvision's models, the weights of `drawn.py` in them, and their features by our names."""

import drawn
import numpy as np
import torch

# torchvision's wheel for a CPU is one for CUDA, which stops at these two operators of its own.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision.models  # noqa: E402

NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *("vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "squeezenet1_1", "googlenet"),
)


def build(name, *, stride_1=(), dilated=None):
    """A model in evaluation mode with drawn weights.

    `stride_1` are stages whose stride is taken away, `dilated` torchvision's own replace_stride_with_dilation.
    """
    options = {} if dilated is None else {"replace_stride_with_dilation": dilated}
    if name == "googlenet":
        options = {"transform_input": True, "init_weights": False}
    model = getattr(torchvision.models, name)(**options)
    for stage in stride_1:
        block = getattr(model, f"layer{stage}")[0]
        strided = block.conv2 if hasattr(block, "conv3") else block.conv1
        strided.stride = block.downsample[0].stride = (1, 1)
    arrays = drawn.weights(shapes(model))
    model.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    return model.eval()


def shapes(model):
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def tensors(model, image):
    """Features (n, c, h, w) by our names; `logits` (n, classes) of SqueezeNet too."""
    x = image.permute(0, 3, 1, 2)
    collect = {"ResNet": _resnet, "VGG": _vgg, "SqueezeNet": _squeezenet, "GoogLeNet": _googlenet}[type(model).__name__]
    return dict(collect(model, x))


def features(model, image):
    """The same as channel-last arrays."""
    with torch.no_grad():
        found = tensors(model, torch.from_numpy(image))
    return {name: np.moveaxis(tensor.numpy(), 1, -1) for name, tensor in found.items()}


def _resnet(model, x):
    x = torch.relu(model.bn1(model.conv1(x)))
    yield "stem", x
    x = model.maxpool(x)
    for i in range(1, 5):
        x = getattr(model, f"layer{i}")(x)
        yield f"stage{i}", x


def _vgg(model, x):
    stage = 1
    for layer in model.features:
        if isinstance(layer, torch.nn.MaxPool2d):
            yield f"conv{stage}", x.clone()
            stage += 1
        x = layer(x)


def _squeezenet(model, x):
    fire = 2
    for i, layer in enumerate(model.features):
        x = layer(x)
        if i == 1:
            yield "conv1", x
        if type(layer).__name__ == "Fire":
            yield f"fire{fire}", x
            fire += 1
    yield "logits", model.classifier(x).flatten(1)


def _googlenet(model, x):
    x = model._transform_input(x)
    for name, layer in model.named_children():
        if name.startswith(("conv", "maxpool", "inception")):
            x = layer(x)
        if name.startswith(("conv", "inception")):
            yield name, x
