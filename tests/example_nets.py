"""Networks of well-known shapes without weights (their arrays are views of one zero), for tests of displays."""

from __future__ import annotations

from typing import Any

import numpy as np

from matnet.formats.mat.values import Cell
from matnet.formats.simplenn import read_simplenn
from matnet.network import Layer, Network, Source
from matnet.ops.base import REGISTRY, Unknown
from matnet.ops.convolution import Conv
from matnet.ops.pooling import Pooling
from matnet.params import Param


def zeros(*shape: int) -> np.ndarray:
    """A single array of zeros that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


def simplenn(layers: list[dict[str, Any]], **meta: Any) -> Network:
    """The Network of a SimpleNN file with these layer structs."""
    return read_simplenn({"layers": Cell(layers), "meta": meta}, Source())


def conv(name: str, *filters: int, pad: Any = 0, stride: int = 1) -> dict[str, Any]:
    """The struct of a SimpleNN convolution with a bias."""
    weights = Cell([zeros(*filters), zeros(filters[3], 1)])
    return {"type": "conv", "name": name, "weights": weights, "pad": row(*np.atleast_1d(pad)), "stride": row(stride)}


def pool(name: str, size: int, stride: int, *pad: int, method: str = "max") -> dict[str, Any]:
    """The struct of a SimpleNN pooling layer."""
    found = {"type": "pool", "name": name, "method": method, "pool": row(size, size), "stride": row(stride)}
    return {**found, "pad": row(*(pad or (0,)))}


def small_classifier() -> Network:
    """28 x 28 x 1 -> conv 5x5x1x20 -> max pool 2/2 with pad [0 1 0 1] -> relu -> softmaxloss."""
    layers = [
        conv("c1", 5, 5, 1, 20),
        pool("p1", 2, 2, 0, 1, 0, 1),
        {"type": "relu", "name": "r1"},
        {"type": "softmaxloss", "name": "loss"},
    ]
    return simplenn(layers, inputSize=row(28, 28, 1))


def alexnet() -> Network:
    """AlexNet's convolutions and pooling layers with the relus between them, on 227 x 227 x 3."""
    layers = [
        conv("conv1", 11, 11, 3, 96, stride=4),
        {"type": "relu", "name": "relu1"},
        pool("pool1", 3, 2),
        conv("conv2", 5, 5, 48, 256, pad=2),
        pool("pool2", 3, 2),
        conv("conv3", 3, 3, 256, 384, pad=1),
        conv("conv4", 3, 3, 192, 384, pad=1),
        conv("conv5", 3, 3, 192, 256, pad=1),
        pool("pool5", 3, 2),
        conv("fc6", 6, 6, 256, 4096),
        {"type": "softmax", "name": "prob"},
    ]
    return simplenn(layers, normalization={"imageSize": row(227, 227, 3)})


class Graph:
    """Builds a DagNN layer by layer; every layer is called as its output variable."""

    def __init__(self, size: tuple[int, int, int] = (56, 72, 3)) -> None:
        self.net = Network({"inputs": {"name": "data", "size": row(*size, 1)}}, Source(format="dagnn"))
        self.channels = {"data": size[2]}

    def conv(self, name: str, source: str, count: int, size: int = 3) -> str:
        self.net.params[f"{name}f"] = Param(zeros(size, size, self.channels[source], count))
        self.channels[name] = count
        return self.add("Conv", name, [source], [f"{name}f"], hasBias=False, pad=size // 2)

    def pool(self, name: str, source: str) -> str:
        return self.add("Pooling", name, [source], poolSize=2, stride=2)

    def up(self, name: str, source: str, count: int) -> str:
        self.net.params[f"{name}f"] = Param(zeros(2, 2, count, self.channels[source]))
        self.channels[name] = count
        return self.add("ConvTranspose", name, [source], [f"{name}f"], hasBias=False, upsample=2)

    def relu(self, name: str, source: str) -> str:
        return self.add("ReLU", name, [source])

    def sum(self, name: str, *sources: str) -> str:
        return self.add("Sum", name, list(sources))

    def concat(self, name: str, *sources: str) -> str:
        self.channels[name] = sum(self.channels[source] for source in sources)
        return self.add("Concat", name, list(sources))

    def add(self, kind: str, name: str, inputs: list[str], params: list[str] | None = None, **fields: Any) -> str:
        self.net.add(Layer(name, REGISTRY.dagnn[f"dagnn.{kind}"](**fields), inputs, [name], params or []))
        self.channels.setdefault(name, self.channels[inputs[0]])
        return name


def small_dag() -> Network:
    """7 x 11 x 6 -> conv 3x5x6x4 with pad [1 1 2 2] -> max pool 2/2 -> a layer of unknown type."""
    net = Network({"inputs": {"name": "data", "size": row(7, 11, 6, 2)}}, Source(format="dagnn"))
    net.params.update(f=Param(zeros(3, 5, 6, 4)), b=Param(zeros(4, 1)))
    net.add(Layer("conv", Conv(pad=(1, 2)), ["data"], ["x"], ["f", "b"]))
    net.add(Layer("pool", Pooling(poolSize=2, stride=2), ["x"], ["y"]))
    net.add(Layer("join", Unknown(kind="dagnn.Odd"), ["y"], ["o"]))
    return net


def chain(length: int) -> Network:
    """`length` layers one after another."""
    graph = Graph()
    last = "data"
    for index in range(0, length, 2):
        last = graph.relu(f"relu{index}", graph.conv(f"conv{index}", last, 8))
    return graph.net


def inception(modules: int) -> Network:
    """Modules of four branches of one to four layers, joined by Concat; one auxiliary head."""
    graph = Graph()
    last = "data"
    for m in range(modules):
        one = graph.relu(f"m{m}_relu_1x1", graph.conv(f"m{m}_1x1", last, 4, 1))
        three = graph.conv(f"m{m}_3x3", graph.relu(f"m{m}_relu_reduce", graph.conv(f"m{m}_3x3_reduce", last, 5, 1)), 6)
        five = graph.relu(f"m{m}_relu_5x5", graph.conv(f"m{m}_5x5", graph.conv(f"m{m}_5x5_reduce", last, 3, 1), 7, 5))
        pooled = graph.conv(f"m{m}_pool_proj", graph.add("Pooling", f"m{m}_pool", [last], poolSize=3, pad=1), 4, 1)
        last = graph.concat(f"m{m}_output", one, three, five, pooled)
        if m == 1:
            graph.conv("auxiliary", graph.pool("auxiliary_pool", last), 10, 1)
    return graph.net


def residual(blocks: int) -> Network:
    """Blocks of three convolutions beside an identity, every fourth beside a projection."""
    graph = Graph()
    last = graph.conv("first", "data", 8)
    for b in range(blocks):
        shortcut = graph.conv(f"block{b}_branch1", last, 8, 1) if b % 4 == 0 else last
        inner = graph.relu(f"block{b}_relu", graph.conv(f"block{b}_branch2a", last, 4, 1))
        inner = graph.conv(f"block{b}_branch2c", graph.conv(f"block{b}_branch2b", inner, 4), 8, 1)
        last = graph.relu(f"block{b}_out_relu", graph.sum(f"block{b}_sum", shortcut, inner))
    return graph.net


def u_net(depth: int) -> Network:
    """Down and up again, each level also joined straight across."""
    graph = Graph((64, 96, 1))
    last, across = "data", []
    for level in range(depth):
        across.append(graph.conv(f"down{level}", last, 4 + level))
        last = graph.pool(f"pool{level}", across[-1])
    for level in reversed(range(depth)):
        joined = graph.concat(f"cat{level}", across[level], graph.up(f"up{level}", last, 5))
        last = graph.conv(f"up{level}_conv", joined, 6)
    return graph.net


def dense(layers: int) -> Network:
    """Every layer reads all layers before it."""
    graph = Graph()
    outputs = [graph.conv("layer0", "data", 3)]
    for index in range(1, layers):
        joined = graph.concat(f"cat{index}", *outputs) if len(outputs) > 1 else outputs[0]
        outputs.append(graph.conv(f"layer{index}", joined, 3))
    return graph.net


def odd_shapes() -> Network:
    """Layers with three outputs, without inputs, without outputs; a variable of two writers, one read twice."""
    net = Network({"inputs": {"name": "data", "size": row(9, 13, 6, 2)}}, Source(format="dagnn"))
    odd = Unknown(kind="lab.Odd")
    net.add(Layer("split", REGISTRY.dagnn["dagnn.Slice"](axis=1, points=(1, 3)), ["data"], ["a", "b", "c"]))
    net.add(Layer("constant", odd, [], ["d"]))
    net.add(Layer("sink", odd, ["a", "d"], []))
    net.add(Layer("first", odd, ["b"], ["e"]))
    net.add(Layer("second", odd, ["c"], ["e"]))
    net.add(Layer("square", odd, ["e", "e"], ["f"]))
    net.add(Layer("alone", odd, [], []))
    return net


def random_graph(seed: int, layers: int = 40) -> Network:
    """Layers that read one to three earlier variables, chosen at random."""
    random = np.random.default_rng(seed)
    graph = Graph()
    names = ["data"]
    for index in range(layers):
        sources = random.choice(names, size=min(len(names), int(random.integers(1, 4))), replace=False)
        names.append(graph.sum(f"{'wide_' * int(random.integers(0, 4))}layer{index}", *map(str, sources)))
    return graph.net
