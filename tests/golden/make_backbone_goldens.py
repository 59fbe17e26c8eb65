"""Writes backbones.npz beside this file: the names and shapes of torchvision's weights, and activations of its models.

    python tests/golden/make_backbone_goldens.py

The everyday tests read the file, so they need no PyTorch. Weights and images are drawn from seeds by
tests/models/drawn.py; of each feature only 48 values, the mean and the standard deviation are kept.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "models"))

import drawn  # noqa: E402
import torch_backbones  # noqa: E402

CASES = {
    "resnet18": ("resnet18", {}),
    "resnet18_tasn": ("resnet18", {"stride_1": (2, 4)}),
    "resnet50_dilated": ("resnet50", {"dilated": (False, True, True)}),
    "vgg16": ("vgg16", {}),
    "vgg16_bn": ("vgg16_bn", {}),
    "squeezenet1_1": ("squeezenet1_1", {}),
    "googlenet": ("googlenet", {}),
}


def names():
    shapes = {name: torch_backbones.shapes(torch_backbones.build(name)) for name in torch_backbones.NAMES}
    return np.frombuffer(json.dumps(shapes).encode(), np.uint8)


def activations():
    for case, (name, options) in CASES.items():
        found = torch_backbones.features(torch_backbones.build(name, **options), drawn.image())
        for feature, array in found.items():
            yield f"{case}/{feature}", drawn.sample(feature, array)
            yield f"{case}/{feature}/shape", np.array(array.shape)


if __name__ == "__main__":
    np.savez_compressed(HERE / "backbones.npz", names=names(), **dict(activations()))
