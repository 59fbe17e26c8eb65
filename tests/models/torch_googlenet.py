"""GoogLeNet with BatchNorm in plain PyTorch, by the names of torchvision's file, for where torchvision is missing."""

import drawn
import torch
from torch import nn

# Outputs of branch1; of both layers of branch2 and of branch3; of branch4.
BLOCKS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class ConvBN(nn.Module):
    def __init__(self, inputs, outputs, size, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    def __init__(self, inputs, one, reduce, three, reduce2, three2, pooled):
        super().__init__()
        self.branch1 = ConvBN(inputs, one, 1)
        self.branch2 = nn.Sequential(ConvBN(inputs, reduce, 1), ConvBN(reduce, three, 3))
        self.branch3 = nn.Sequential(ConvBN(inputs, reduce2, 1), ConvBN(reduce2, three2, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), ConvBN(inputs, pooled, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Trunk(nn.Module):
    """All but the classifiers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = ConvBN(3, 64, 7, 2), ConvBN(64, 64, 1), ConvBN(64, 192, 3)
        inputs = 192
        for name, widths in BLOCKS.items():
            setattr(self, f"inception{name}", Block(inputs, *widths))
            inputs = widths[0] + widths[2] + widths[4] + widths[5]

    def tensors(self, image):
        """Features (n, c, h, w) by name of images (n, h, w, c) that are normalised by ImageNet's statistics."""
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (((image * std + mean) - 0.5) / 0.5).permute(0, 3, 1, 2)
        found, pool = {}, nn.functional.max_pool2d
        for name, layer in self.named_children():
            size = {"conv2": 3, "inception3a": 3, "inception4a": 3, "inception5a": 2}.get(name)
            x = found[name] = layer(pool(x, size, 2, ceil_mode=True) if size else x)
        return found


def build():
    """In evaluation mode with drawn weights."""
    model = Trunk()
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(array) for key, array in drawn.weights(shapes).items()})
    return model.eval()
