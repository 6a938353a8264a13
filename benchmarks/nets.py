"""The published ImageNet architectures with random weights, which do not affect the speed.

The geometry follows the BVLC, Oxford and Microsoft deploy files, with the pooling pads of MatConvNet's importer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from matnet.network import Layer, Network
from matnet.ops.activation import DropOut, ReLU, SoftMax
from matnet.ops.base import Op
from matnet.ops.combine import Concat, Sum
from matnet.ops.convolution import Conv
from matnet.ops.normalization import LRN, BatchNorm
from matnet.ops.pooling import Pooling
from matnet.params import Param, owned
from matnet.shapes import Pad, caffe_pool_trailing_pad

CAFFE_LRN = (5.0, 1.0, 2e-5, 0.75)  # N, kappa, alpha / N, beta of AlexNet, CaffeNet and GoogLeNet


class NetBuilder:
    """Builds a network layer by layer from variable `data`; every method returns its output variable."""

    def __init__(self, side: int, channels: int = 3) -> None:
        self.net = Network()
        self.net.input_shapes["data"] = (1, channels, side, side)
        self.random = np.random.default_rng(0)
        self.depth = {"data": channels}

    def layer(self, name: str, op: Op, inputs: Sequence[str], params: Sequence[np.ndarray] = ()) -> str:
        """Adds a layer with one output of the same name."""
        names = [f"{name}_{number}" for number in range(len(params))]
        self.net.params.update({key: Param(owned(value)) for key, value in zip(names, params, strict=True)})
        self.net.add(Layer(name, op, list(inputs), [name], names))
        self.depth.setdefault(name, self.depth[inputs[0]])
        return name

    def conv(
        self,
        name: str,
        x: str,
        count: int,
        kernel: int = 1,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = True,
        relu: bool = True,
    ) -> str:
        """A convolution with weights that preserve the scale of activations, and a ReLU."""
        depth = self.depth[x] // groups
        shape = kernel, kernel, depth, count
        weights = self.random.standard_normal(shape[::-1], dtype=np.float32).T  # column-major, as in MATLAB files
        weights *= np.float32(np.sqrt(2 / (kernel * kernel * depth)))
        self.depth[name] = count
        op = Conv(size=shape, pad=(pad,) * 4, stride=(stride, stride), hasBias=bias)
        self.layer(name, op, [x], [weights, np.full((count, 1), 0.01, np.float32)][: 1 + bias])
        return self.layer(f"{name}_relu", ReLU(), [name]) if relu else name

    def pool(self, name: str, x: str, size: int, stride: int, pad: int = 0, method: str = "max") -> str:
        """Pooling with the trailing pad for Caffe's output size."""
        after = caffe_pool_trailing_pad(size, stride, pad)
        pads: Pad = (pad, after, pad, after)
        return self.layer(name, Pooling(method=method, poolSize=(size, size), stride=(stride, stride), pad=pads), [x])

    def average(self, name: str, x: str, size: int) -> str:
        """Global average pooling of a size x size map."""
        return self.layer(name, Pooling(method="avg", poolSize=(size, size)), [x])

    def lrn(self, name: str, x: str) -> str:
        return self.layer(name, LRN(param=CAFFE_LRN), [x])

    def norm(self, name: str, x: str) -> str:
        """Batch normalization with moments close to those of a trained network."""
        depth = self.depth[x]
        uniform = self.random.uniform(0.9, 1.1, (4, depth)).astype(np.float32)
        moments = np.stack([uniform[2] - 1, uniform[3]], axis=1)
        return self.layer(name, BatchNorm(), [x], [uniform[0, :, None], uniform[1, :, None] - 1, moments])

    def concat(self, name: str, parts: Sequence[str]) -> str:
        self.depth[name] = sum(self.depth[part] for part in parts)
        return self.layer(name, Concat(), parts)

    def classifier(self, x: str, side: int, widths: Sequence[int]) -> Network:
        """Fully connected layers with dropout between them, then a softmax; the first covers side x side pixels."""
        for number, width in enumerate(widths, 6):
            last = number == 5 + len(widths)
            x = self.conv(f"fc{number}", x, width, side, relu=not last)
            x = x if last else self.layer(f"drop{number}", DropOut(), [x])
            side = 1
        self.layer("prob", SoftMax(), [x])
        return self.net


def alexnet(norm_first: bool = True) -> Network:
    """BVLC AlexNet; CaffeNet if pooling comes before normalization."""
    b = NetBuilder(227)

    def pool_and_norm(stage: int, x: str) -> str:
        if norm_first:
            return b.pool(f"pool{stage}", b.lrn(f"norm{stage}", x), 3, 2)
        return b.lrn(f"norm{stage}", b.pool(f"pool{stage}", x, 3, 2))

    x = pool_and_norm(1, b.conv("conv1", "data", 96, 11, 4))
    x = pool_and_norm(2, b.conv("conv2", x, 256, 5, pad=2, groups=2))
    x = b.conv("conv3", x, 384, 3, pad=1)
    x = b.conv("conv4", x, 384, 3, pad=1, groups=2)
    x = b.conv("conv5", x, 256, 3, pad=1, groups=2)
    return b.classifier(b.pool("pool5", x, 3, 2), 6, (4096, 4096, 1000))


def caffenet() -> Network:
    """The BVLC reference CaffeNet."""
    return alexnet(norm_first=False)


INCEPTION = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
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


def googlenet() -> Network:
    """BVLC GoogLeNet without its auxiliary heads."""
    b = NetBuilder(224)
    x = b.lrn("norm1", b.pool("pool1", b.conv("conv1", "data", 64, 7, 2, 3), 3, 2))
    x = b.conv("conv2", b.conv("conv2_reduce", x, 64), 192, 3, pad=1)
    x = b.pool("pool2", b.lrn("norm2", x), 3, 2)
    for name, (c1, r3, c3, r5, c5, cp) in INCEPTION.items():
        if name in ("4a", "5a"):
            x = b.pool(f"pool{name}", x, 3, 2)
        parts = [
            b.conv(f"{name}_1x1", x, c1),
            b.conv(f"{name}_3x3", b.conv(f"{name}_3x3_reduce", x, r3), c3, 3, pad=1),
            b.conv(f"{name}_5x5", b.conv(f"{name}_5x5_reduce", x, r5), c5, 5, pad=2),
            b.conv(f"{name}_proj", b.pool(f"{name}_pool", x, 3, 1, 1), cp),
        ]
        x = b.concat(f"{name}_output", parts)
    return b.classifier(b.average("pool5", x, 7), 1, (1000,))


def squeezenet() -> Network:
    """SqueezeNet 1.1: squeeze to s channels, expand to 4 s by 1x1 and 4 s by 3x3 filters."""
    b = NetBuilder(227)
    x = b.pool("pool1", b.conv("conv1", "data", 64, 3, 2), 3, 2)
    for number, s in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        name = f"fire{number}"
        squeezed = b.conv(f"{name}_squeeze", x, s)
        wide = [b.conv(f"{name}_expand1", squeezed, 4 * s), b.conv(f"{name}_expand3", squeezed, 4 * s, 3, pad=1)]
        x = b.concat(f"{name}_concat", wide)
        if number in (3, 5):
            x = b.pool(f"pool{number}", x, 3, 2)
    x = b.conv("conv10", b.layer("drop9", DropOut(), [x]), 1000)
    b.layer("prob", SoftMax(), [b.average("pool10", x, 14)])
    return b.net


def vgg16() -> Network:
    """VGG-VD-16."""
    b, x = NetBuilder(224), "data"
    for stage, (count, convs) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for number in range(1, convs + 1):
            x = b.conv(f"conv{stage}_{number}", x, count, 3, pad=1)
        x = b.pool(f"pool{stage}", x, 2, 2)
    return b.classifier(x, 7, (4096, 4096, 1000))


def resnet50() -> Network:
    """ResNet-50 with unfolded batch normalization."""
    b = NetBuilder(224)

    def conv_norm(name: str, x: str, count: int, kernel: int = 1, stride: int = 1, relu: bool = True) -> str:
        conv = b.conv(name, x, count, kernel, stride, kernel // 2, bias=name == "conv1", relu=False)
        x = b.norm(f"bn_{name}", conv)
        return b.layer(f"{name}_relu", ReLU(), [x]) if relu else x

    x = b.pool("pool1", conv_norm("conv1", "data", 64, 7, 2), 3, 2)
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], 2):
        for block in range(blocks):
            name, stride = f"res{stage}{'abcdef'[block]}", 2 if block == 0 and stage > 2 else 1
            shortcut = conv_norm(f"{name}_branch1", x, 4 * width, 1, stride, relu=False) if block == 0 else x
            x = conv_norm(f"{name}_branch2a", x, width, 1, stride)
            x = conv_norm(f"{name}_branch2b", x, width, 3)
            x = conv_norm(f"{name}_branch2c", x, 4 * width, relu=False)
            x = b.layer(f"{name}_relu", ReLU(), [b.layer(name, Sum(), [shortcut, x])])
    return b.classifier(b.average("pool5", x, 7), 1, (1000,))


NETS: dict[str, Callable[[], Network]] = {
    "alexnet": alexnet,
    "caffenet": caffenet,
    "googlenet": googlenet,
    "squeezenet": squeezenet,
    "vgg16": vgg16,
    "resnet50": resnet50,
}
