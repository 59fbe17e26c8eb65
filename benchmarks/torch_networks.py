"""The networks of `vtnjax.models` in PyTorch, for comparison: channels first, attributes of the same names.

`load` gives one the parameters of the other, strictly: both have the same parameters, of the same shapes.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from attention_sampler import torch_coords
from flax import nnx
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from vtnjax import ops

Module: Any = torch.nn.Module  # untyped, as PyTorch is where it is not installed
Linear, ModuleList = torch.nn.Linear, torch.nn.ModuleList


def load(network: Any, model: nnx.Module) -> Any:
    """The PyTorch network with the parameters and statistics of a Flax model; every name and shape must fit."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    arrays = {}
    for path, variable in nnx.to_flat_state(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))):
        *layers, leaf = map(str, path)
        axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(variable[...].ndim)
        arrays[".".join([*layers, names.get(leaf, leaf)])] = torch.tensor(np.transpose(variable[...], axes).copy())
    counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    network.load_state_dict({**arrays, **counters})
    return network


def _flat(x):
    """Features in the order of channels last, which the linear layers' weights have."""
    return x.permute(0, 2, 3, 1).flatten(1)


# ---- The STN paper's networks


class FCN(Module):
    """`models.layers.FCN`."""

    def __init__(self, inputs: int, width: int, classes: int):
        super().__init__()
        self.hidden = ModuleList([Linear(inputs, width), Linear(width, width)])
        self.classifier = Linear(width, classes)

    def forward(self, image):
        x = image.flatten(1)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.classifier(x)


class CNN(Module):
    """`models.layers.CNN`."""

    def __init__(self, width: int, cells: int, classes: int):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, width, 9), torch.nn.Conv2d(width, width, 7)
        self.classifier = Linear(cells * width, classes)

    def forward(self, image):
        x = functional.max_pool2d(self.conv1(image).relu(), 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv2(x).relu(), 2, ceil_mode=True)
        return self.classifier(_flat(x))


class FCNLocaliser(Module):
    """`models.layers.FCNLocaliser`."""

    def __init__(self, inputs: int):
        super().__init__()
        self.layers = ModuleList([Linear(inputs, 32), Linear(32, 32), Linear(32, 32)])

    def forward(self, image):
        x = image.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return x


class CNNLocaliser(Module):
    """`models.stn.CNNLocaliser`."""

    def __init__(self, cells: int):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 20, 5), torch.nn.Conv2d(20, 20, 5)
        self.hidden = Linear(20 * cells, 20)

    def forward(self, image):
        x = functional.max_pool2d(self.conv1(functional.avg_pool2d(image, 2)).relu(), 2)
        return self.hidden(_flat(self.conv2(x).relu())).relu()


class SpatialTransformer(Module):
    """`nn.SpatialTransformer` of a localiser, "affine" or "tps"."""

    def __init__(self, localiser, features: int, warp: str, shape: Sequence[int]):
        super().__init__()
        self.localiser, self.warp = localiser, warp
        self.head = Linear(features, {"affine": 6, "tps": 32}[warp])
        # A thin-plate spline is linear in its targets.
        units = [ops.thin_plate_spline_grid(jnp.tile(unit[:, None], 2), shape)[..., 0] for unit in jnp.eye(16)]
        self.basis = torch.tensor(np.stack(units, axis=-1))

    def forward(self, image):
        theta = self.head(self.localiser(image))
        if self.warp == "affine":
            grid = functional.affine_grid(theta.reshape(-1, 2, 3), list(image.shape), align_corners=True)
        else:
            grid = self.basis @ theta.reshape(-1, 1, 16, 2)
        return functional.grid_sample(image, grid, align_corners=True)


class STN(Module):
    """`models.STN` with the widths of the one given."""

    def __init__(self, model: Any, name: str, warp: str, size: int):
        super().__init__()
        self.pool, classifier = model.pool, model.classifier
        inputs, classes = classifier.classifier.in_features, classifier.classifier.out_features
        if name.endswith("cnn"):
            width = classifier.conv1.out_features
            self.classifier, localiser = CNN(width, inputs // width, classes), CNNLocaliser
            cells = ((size // 2 - 4) // 2 - 4) ** 2
        else:
            self.classifier, localiser = FCN(classifier.hidden[0].in_features, inputs, classes), FCNLocaliser
            cells = size**2
        self.transformer = None
        if name.startswith("st_"):
            self.transformer = SpatialTransformer(localiser(cells), model.transformer.features, warp, (size, size))

    def forward(self, image):
        x = image if self.transformer is None else self.transformer(image)
        return self.classifier(functional.avg_pool2d(x, self.pool) if self.pool > 1 else x)


# ---- Trunks


class ConvNorm(Module):
    """`models.backbones._layers.ConvNorm`."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride=1, padding=None, norm=True):
        super().__init__()
        around = size // 2 if padding is None else padding
        self.conv = torch.nn.Conv2d(inputs, outputs, size, stride, around, bias=not norm)
        self.norm = torch.nn.BatchNorm2d(outputs) if norm else None

    def forward(self, x):
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Residual(Module):
    """A block of `models.ResNet`."""

    def __init__(self, inputs: int, width: int, stride: int, *, bottleneck: bool):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            layers = [ConvNorm(inputs, width, 1), ConvNorm(width, width, 3, stride=stride), ConvNorm(width, outputs, 1)]
        else:
            layers = [ConvNorm(inputs, width, 3, stride=stride), ConvNorm(width, width, 3)]
        self.layers = ModuleList(layers)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else ConvNorm(inputs, outputs, 1, stride=stride)

    def forward(self, x):
        y = self.layers[0](x)
        for layer in self.layers[1:]:
            y = layer(y.relu())
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()


class ResNet(Module):
    """`models.ResNet`, whose last features it gives."""

    def __init__(self, name: str, strides: Sequence[int] = (1, 2, 2, 2)):
        super().__init__()
        counts, bottleneck = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}[name]
        self.stem, inputs, stages = ConvNorm(3, 64, 7, stride=2), 64, []
        for count, width, stride in zip(counts, (64, 128, 256, 512), strides, strict=True):
            stage = []
            for number in range(count):
                stage.append(Residual(inputs, width, 1 if number else stride, bottleneck=bottleneck))
                inputs = 4 * width if bottleneck else width
            stages.append(ModuleList(stage))
        self.stages: Any = ModuleList(stages)

    def forward(self, image):
        x = functional.max_pool2d(self.stem(image).relu(), 3, 2, 1)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return x


class Fire(Module):
    """A fire module of `models.SqueezeNet`."""

    def __init__(self, inputs: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = ConvNorm(inputs, squeezed, 1, norm=False)
        self.expand1x1 = ConvNorm(squeezed, expanded, 1, norm=False)
        self.expand3x3 = ConvNorm(squeezed, expanded, 3, norm=False)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class SqueezeNet(Module):
    """`models.SqueezeNet`, whose last features it gives."""

    def __init__(self):
        super().__init__()
        widths = [(s, e) for s, e in ((16, 64), (32, 128), (48, 192), (64, 256)) for _ in range(2)]
        inputs = [64, *(2 * expanded for _, expanded in widths)]
        self.conv1 = ConvNorm(3, 64, 3, stride=2, padding=0, norm=False)
        self.fires = ModuleList([Fire(inputs[i], *width) for i, width in enumerate(widths)])

    def forward(self, image):
        x = self.conv1(image).relu()
        for number, fire in enumerate(self.fires):
            x = fire(functional.max_pool2d(x, 3, 2, ceil_mode=True) if number in (0, 2, 4) else x)
        return x


class PooledClassifier(Module):
    """`models.PooledClassifier`."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.linear = Linear(channels, classes)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


class WarpedFeatures(Module):
    """`models.WarpedFeatures`."""

    def __init__(self, backbone, transformer, classifier):
        super().__init__()
        self.backbone, self.transformer, self.classifier = backbone, transformer, classifier

    def forward(self, image):
        x = self.backbone(image)
        return self.classifier(x if self.transformer is None else self.transformer(x))


# ---- VTN


class Level(Module):
    """A level of `nn.VolumetricTransformer`, on features (n * groups, d, h, w)."""

    def __init__(self, inputs: int, outputs: int, groups: int, mixed: int):
        super().__init__()
        self.groups, self.conv = groups, torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm, self.mix = torch.nn.BatchNorm2d(outputs), Linear(groups, mixed, bias=False)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        x = x.reshape(-1, self.groups, *x.shape[1:])
        return torch.einsum("ngdhw,mg->nmdhw", x, self.mix.weight).flatten(0, 1)


class VolumetricTransformer(Module):
    """`nn.VolumetricTransformer` with its defaults."""

    def __init__(self, groups: int = 32, window: int = 11):
        super().__init__()
        widths = (16, 32, 64, 64)
        counts = (groups, *(round(groups * share) for share in (0.75, 0.5, 0.375, 0.25)))

        def levels(widths, counts):
            return ModuleList(
                [Level(widths[i], widths[i + 1], counts[i], counts[i + 1]) for i in range(len(counts) - 1)]
            )

        self.groups, self.window = groups, window
        self.encoder = levels((2, *widths), counts)
        self.decoder = levels((*widths[::-1], widths[0]), counts[::-1])
        self.head = torch.nn.Conv2d(widths[0], window**2, 3, padding=1)

    def forward(self, features):
        n, c, h, w = features.shape
        grouped = features.reshape(n, self.groups, c // self.groups, h, w)
        pooled = torch.stack([grouped.amax(2), grouped.mean(2)], 2)  # (n, g, 2, h, w)
        x = functional.instance_norm(pooled.reshape(1, n * self.groups, 2 * h, w)).reshape(-1, 2, h, w)
        sizes = []
        for level in self.encoder:
            sizes.append(x.shape[2:])
            x = functional.max_pool2d(level(x), 2, ceil_mode=True)
        for level in self.decoder:
            x = functional.interpolate(level(x), sizes.pop(), mode="bilinear", align_corners=False)
        reach = self.window // 2
        response = functional.pad(pooled.sum(2).reshape(-1, 1, h, w), [reach] * 4, value=-1e30)
        near = response.unfold(2, self.window, 1).unfold(3, self.window, 1)[:, 0].permute(0, 3, 4, 1, 2).flatten(1, 2)
        probabilities = ((near + self.head(x)) / 10).softmax(1)  # (n * g, window ** 2, h, w)
        y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
        offsets = torch.stack([x.flatten(), y.flatten()])
        rows, columns = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
        coords = torch.einsum("bkhw,xk->bhwx", probabilities, offsets) + torch.stack([columns, rows], -1)
        grid = coords / torch.tensor([w - 1.0, h - 1.0]) * 2 - 1
        planes = features.reshape(n * self.groups, c // self.groups, h, w)
        return functional.grid_sample(planes, grid, align_corners=True).reshape(features.shape)


# ---- TASN


class MultiDilation(Module):
    """`models.tasn.MultiDilation`."""

    def __init__(self, channels: int, dilations: Sequence[int]):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias, self.dilations = torch.nn.Parameter(torch.empty(channels)), dilations

    def forward(self, x):
        return sum(functional.conv2d(x, self.weight, self.bias, 1, d, d).relu() for d in self.dilations)


class AttentionNetwork(Module):
    """`models.AttentionNetwork` of a ResNet-18, without the logits by which it is trained."""

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.size, self.trunk = size, ResNet("resnet18", (1, 1, 2, 1))
        self.blocks = ModuleList([MultiDilation(512, dilations) for dilations in ((1, 2), (1, 2, 3))])
        self.norm, self.classifier = torch.nn.BatchNorm2d(512), Linear(512, classes)

    def forward(self, image):
        x = self.trunk(functional.interpolate(image, [self.size] * 2, mode="bilinear", align_corners=True))
        for block in self.blocks:
            x = block(x)
        return x


class MasterNet(Module):
    """What `models.TASN` without parts computes in evaluation mode."""

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.attention_network, self.trunk = AttentionNetwork(classes, size), ResNet("resnet50")
        self.master_head, self.shared_head, self.size = Linear(2048, classes), Linear(2048, classes), size

    def forward(self, image):
        x = self.attention_network(image).flatten(2)  # (n, c, positions)
        relation = ((7 * x).softmax(2) @ x.transpose(1, 2)).softmax(2)
        cells = self.attention_network.size // 8
        maps = (relation @ x).sum(1).reshape(-1, 1, cells, cells).clamp(min=0)
        attention = functional.interpolate(maps, list(image.shape[2:]), mode="bilinear", align_corners=True)[:, 0] ** 2
        sampled = functional.grid_sample(image, torch_coords(attention, self.size), align_corners=True)
        return self.shared_head(self.trunk(sampled).mean((2, 3)))
