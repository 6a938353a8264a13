"""Drawings: well-formed, one box per layer, nothing over anything else, whatever the graph and its names."""

from __future__ import annotations

import functools
import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import matnet
from matnet.display.dot import network_dot
from matnet.display.html import network_to_html
from matnet.display.svg import network_svg, text_width
from matnet.display.table import network_table
from matnet.errors import NetworkError
from matnet.network import Layer, Network
from matnet.ops.activation import ReLU
from matnet.ops.base import Unknown
from matnet.ops.convolution import Conv
from matnet.params import Param
from tests import example_nets as nets
from tests.conftest import DATA, conformance_cases

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('&\"]]>')</script>\x00\x1b[31m\ud800 {a|b} \\ </svg>\n漢字"
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom

GRAPHS: dict[str, Callable[[], Network]] = {
    "one layer": lambda: nets.chain(2),
    "classifier": nets.small_classifier,
    "alexnet": nets.alexnet,
    "chain of 200": lambda: nets.chain(200),
    "inception": lambda: nets.inception(6),
    "residual of 150": lambda: nets.residual(30),
    "u-net": lambda: nets.u_net(5),
    "dense": lambda: nets.dense(12),
    "odd shapes": nets.odd_shapes,
    "nothing": Network,
    **{f"random {seed}": lambda seed=seed: nets.random_graph(seed) for seed in range(8)},
}


def drawn(net: Network) -> ET.Element:
    return ET.fromstring(network_svg(network_table(net), unfold=True))


@functools.cache
def drawing_of(name: str) -> ET.Element:
    return drawn(GRAPHS[name]())


def boxes(root: ET.Element, *classes: str) -> dict[str, Rectangle]:
    """The rectangles of the drawing by their order and name."""
    found = {}
    for number, group in enumerate(root.iter(f"{SVG}g")):
        if group.get("class") in classes:
            rect = group.find(f"{SVG}rect")
            assert rect is not None
            left, top, width, height = (float(rect.get(key, "nan")) for key in ("x", "y", "width", "height"))
            found[f"{number} {group.findtext(f'{SVG}text')}"] = (left, top, left + width, top + height)
    return found


def points(path: str) -> Iterator[tuple[float, float]]:
    """Points along a path of the commands M, V, H, C and q, close enough that no box fits between two of them."""
    x = y = 0.0
    for command, arguments in re.findall(r"([MVHCq])([^MVHCq]*)", path):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", arguments)]
        if command == "C":
            ends = np.array([(x, y), *zip(numbers[::2], numbers[1::2], strict=True)])
            for t in np.linspace(0, 1, 40):
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
                yield tuple(weights @ ends)
            x, y = numbers[4:]
            continue
        x0, y0 = x, y
        if command == "q":
            x, y = x + numbers[2], y + numbers[3]
        else:
            x = numbers[0] if command in "MH" else x
            y = numbers[-1] if command in "MV" else y
        steps = 1 if command == "M" else max(2, math.ceil(math.hypot(x - x0, y - y0) / 4))
        yield from ((x0 + (x - x0) * t, y0 + (y - y0) * t) for t in np.linspace(1 / steps, 1, steps))


def inside(point: tuple[float, float], box: Rectangle, margin: float = 0.5) -> bool:
    left, top, right, bottom = box
    return left + margin < point[0] < right - margin and top + margin < point[1] < bottom - margin


@pytest.mark.process
@pytest.mark.parametrize("name", GRAPHS)
def test_every_layer_has_one_box_and_no_two_overlap(name: str) -> None:
    net = GRAPHS[name]()
    root = drawing_of(name)
    assert len(boxes(root, "layer")) == len(net.layers)
    places = boxes(root, "layer", "variable")
    assert all(map(math.isfinite, itertools.chain(*places.values())))
    width, height = float(root.get("width", "nan")), float(root.get("height", "nan"))
    for (a, first), (b, second) in itertools.combinations(places.items(), 2):
        apart = first[2] < second[0] or second[2] < first[0] or first[3] < second[1] or second[3] < first[1]
        assert apart, f"{a} and {b} overlap"
    assert all(left >= 0 and top >= 0 for left, top, _, _ in places.values())
    assert all(right <= width and bottom <= height for _, _, right, bottom in places.values())


@pytest.mark.process
@pytest.mark.parametrize("name", GRAPHS)
def test_text_stays_within_its_box_and_labels_off_all_boxes(name: str) -> None:
    root = drawing_of(name)
    for group in root.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        if rect is not None and group.get("class"):
            for text in group.findall(f"{SVG}text"):
                size = 12 if text.get("class") == "name" else 10.5
                assert text_width(text.text or "", size) < float(rect.get("width", "nan"))
    places = boxes(root, "layer", "variable")
    for label in root.iter(f"{SVG}text"):
        if label.get("class") == "size":
            x, y = float(label.get("x", "nan")), float(label.get("y", "nan"))
            corners = [(x, y), (x + text_width(label.text or "", 9.5), y - 9.5)]
            assert not any(inside(corner, box) for corner in corners for box in places.values()), label.text


@pytest.mark.process
@pytest.mark.parametrize("name", GRAPHS)
def test_wires_run_around_boxes(name: str) -> None:
    """Every point of every wire lies outside of all boxes."""
    root = drawing_of(name)
    places = np.array(list(boxes(root, "layer", "variable").values()))
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "wire":
            found = np.array(list(points(path.get("d", ""))))
            assert np.isfinite(found).all()
            x, y = found[:, :1], found[:, 1:]
            left, top, right, bottom = places.T
            hit = (x > left + 0.5) & (x < right - 0.5) & (y > top + 0.5) & (y < bottom - 0.5)
            assert not hit.any(), f"{path.findtext(f'{SVG}title')} runs through a box"


@pytest.mark.parametrize("name", GRAPHS)
def test_layers_stand_below_what_they_read_or_in_a_later_column(name: str) -> None:
    net = GRAPHS[name]()
    found = list(boxes(drawing_of(name), "layer").values())
    place = dict(zip(net.layers, found, strict=True))
    writers = {variable: layer.name for layer in net.layers.values() for variable in layer.outputs}
    for layer in net.layers.values():
        for variable in layer.inputs:
            if variable in writers:
                above, below = place[writers[variable]], place[layer.name]
                assert below[1] > above[3] or below[0] > above[2]


def test_the_trunk_of_a_residual_network_is_straight() -> None:
    """Between projections, what lies on the main path shares one x; rounding of coordinates aside."""
    net = nets.residual(3)
    found = list(boxes(drawn(net), "layer").values())
    middle = {name: (box[0] + box[2]) / 2 for name, box in zip(net.layers, found, strict=True)}
    trunk = [middle[f"block1_{part}"] for part in ("relu", "branch2a", "branch2b", "branch2c", "sum", "out_relu")]
    np.testing.assert_allclose(trunk, trunk[0], atol=0.2)


def test_parallel_branches_are_drawn_without_crossings() -> None:
    """Two siblings that the file lists in the other order than their readers."""
    graph = nets.Graph()
    graph.relu("a", "data")
    graph.relu("b", "data")
    graph.relu("after_b", "b")
    graph.relu("after_a", "a")
    graph.sum("joined", "after_a", "after_b")
    found = list(boxes(drawn(graph.net), "layer").values())
    left = {name: box[0] for name, box in zip(graph.net.layers, found, strict=True)}
    assert (left["a"] < left["b"]) == (left["after_a"] < left["after_b"])


@pytest.mark.process
def test_a_long_chain_is_wrapped_into_columns() -> None:
    """200 layers in one column would be 50 times as high as wide."""
    root = drawn(nets.chain(200))
    assert len({box[0] for box in boxes(root, "layer").values()}) >= 4
    assert float(root.get("height", "nan")) < 2 * float(root.get("width", "nan"))


def test_labels_are_sizes_height_width_channels() -> None:
    """Worked by hand: 28 - 5 + 1 = 24; (24 + 1 - 2) / 2 + 1 = 12."""
    labels = [text.text for text in drawn(nets.small_classifier()).iter(f"{SVG}text") if text.get("class") == "size"]
    assert labels == ["28x28x1", "24x24x20", "12x12x20", "12x12x20", "12x12x1"]


def test_unknown_layers_are_marked() -> None:
    net = Network()
    net.add(Layer("odd", Unknown(kind="lab.Odd"), ["x"], ["y"]))
    [group] = [group for group in drawn(net).iter(f"{SVG}g") if group.get("class") == "layer"]
    assert [text.text for text in group.findall(f"{SVG}text")] == ["odd", "lab.Odd", "unknown type"]


# -- names that mean harm ----------------------------------------------------------------------------


def hostile() -> Network:
    net = Network({"name": HOSTILE, "classes": {"name": HOSTILE}})
    net.source.notes.append(HOSTILE)
    net.params[HOSTILE] = Param(nets.zeros(3, 3, 1, 4))
    net.add(Layer(HOSTILE, Conv(hasBias=False), [HOSTILE + "in"], [HOSTILE + "out"], [HOSTILE]))
    net.add(Layer("odd", Unknown(kind=HOSTILE), [HOSTILE + "out"], ["y"]))
    return net


def test_hostile_names_stay_text_in_svg() -> None:
    text = network_svg(network_table(hostile(), size=(7, 11)), HOSTILE)
    root = ET.fromstring(text.encode("utf-8"))
    assert len(boxes(root, "layer")) == 2
    assert not list(root.iter(f"{SVG}script"))


def test_hostile_names_stay_text_in_html() -> None:
    text = network_to_html(hostile())
    text.encode("utf-8")
    assert "<script" not in text and "</svg" not in text and "\x00" not in text and "\x1b" not in text
    assert "&lt;script&gt;alert(&#x27;&amp;&quot;]]&gt;&#x27;)&lt;/script&gt;" in text


def test_hostile_names_stay_strings_in_dot() -> None:
    """Outside of quoted strings nothing is left but the keywords of the language."""
    text = network_dot(network_table(hostile(), size=(7, 11)))
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "S", text)
    assert set(re.findall(r"[A-Za-z]\w*", bare)) <= {
        *("digraph", "DagNN", "fontsize", "S", "label", "shape", "record", "style", "fillcolor", "fontname", "weight")
    }
    assert all(line.startswith(("digraph", "\t", "}")) for line in text.splitlines())


# -- HTML and dot ------------------------------------------------------------------------------------


def without_looks(text: str) -> str:
    return re.sub(r' style="[^"]*"', "", text)


def test_the_looks_of_html_survive_jupyterlab() -> None:
    """JupyterLab aligns cells to the right by a rule of its own, and drops <style> where a notebook is not trusted."""
    text = nets.small_classifier()._repr_html_()
    assert "<style" not in text and "class=" not in text.replace('class="matnet"', "")
    cells = re.findall(r"<t[dh]([^>]*)>(.*?)</t[dh]>", text)
    assert cells and all(re.search("text-align:(left|right)", look) for look, _ in cells)
    numbers = [look for look, cell in cells if re.fullmatch(r"\d+(KB|B|MB)", cell)]
    assert numbers and all("text-align:right" in look for look in numbers)


def test_html_has_a_row_per_layer() -> None:
    net = nets.small_classifier()
    text = without_looks(net._repr_html_())
    assert len(re.findall(r"<tr><td>\d+</td>", text)) == len(net.layers)
    assert "<td>parameter memory</td><td>2KB (5.2e+02 parameters)</td>" in text


def test_html_of_a_network_that_cannot_be_analysed_shows_layers_and_reason() -> None:
    net = Network()
    net.add(Layer("a", ReLU(), ["y"], ["x"]))
    net.add(Layer("b", ReLU(), ["x"], ["y"]))
    text = without_looks(network_to_html(net))
    assert "the graph has a cycle" in text
    assert "<tr><td>a</td><td>dagnn.ReLU</td><td>y</td><td>x</td></tr>" in text


def test_dot_is_what_model2dot_writes() -> None:
    """Nodes var_*, par_* and layers, their colours and the weights of edges as upstream's; sizes by hand."""
    net = Network({"inputs": {"name": "data", "size": nets.row(7, 11, 6, 1)}})
    net.params["f"] = Param(nets.zeros(3, 5, 6, 4))
    net.add(Layer("conv", Conv(hasBias=False), ["data"], ["y"], ["f"]))
    looks = 'shape=record style="filled" fillcolor="{}" fontname="Helvetica" fontsize=12'
    assert network_dot(network_table(net)).splitlines() == [
        "digraph DagNN {",
        "\tfontsize=12",
        f'\t"var_data" [label="{{data | 7x11x6x1 | 2KB}}" {looks.format("beige")}]',
        f'\t"var_y" [label="{{y | 5x7x4x1 | 560B}}" {looks.format("beige")}]',
        f'\t"par_f" [label="{{f | 3x5x6x4 | 1KB}}" {looks.format("lightsteelblue")}]',
        f'\t"conv" [label="{{conv | dagnn.Conv}}" {looks.format("tomato")}]',
        '\t"var_data" -> "conv" [weight=10]',
        '\t"par_f" -> "conv" [weight=1]',
        '\t"conv" -> "var_y" [weight=10]',
        "}",
    ]


@pytest.mark.parametrize("case", conformance_cases("matconvnet"))
def test_every_conformance_model_is_drawn(case: str) -> None:
    net = matnet.load(DATA / "matconvnet" / case / "model.mat")
    root = drawn(net)
    assert len(boxes(root, "layer")) == len(net.layers)
    assert network_dot(network_table(net)).count("tomato") == len(net.layers)
    assert len(re.findall(r"<tr><td>\d+</td>", without_looks(network_to_html(net)))) == len(net.layers)


def test_wires_that_grow_with_the_product_of_writers_and_readers_are_refused() -> None:
    """150 writers and 150 readers of one variable: each pair is a wire, and 150 are of the first writer."""
    net = Network()
    for number in range(150):
        net.add(Layer(f"w{number}", ReLU(), ["x"], ["y"], []))
        net.add(Layer(f"r{number}", ReLU(), ["y"], [f"z{number}"], []))
    with pytest.raises(NetworkError, match="22,350 additional wires"):
        network_svg(network_table(net))
