"""The table of a network against MatConvNet's own figures, its two displays to the letter, and hand-worked numbers."""

from __future__ import annotations

from typing import Any

import pytest

import matnet
from matnet.display.matconvnet import matconvnet_text
from matnet.display.table import LayerRow, network_table
from matnet.display.units import count, dims, memory
from matnet.network import Layer, Network
from matnet.ops.convolution import Conv, ConvTranspose
from matnet.params import Param
from tests import example_nets as nets
from tests.conftest import DATA


def rows(net: Network, **options: Any) -> dict[str, LayerRow]:
    return {row.name: row for row in network_table(net, **options).layers}


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0B"), (1023, "1023B"), (1024, "1KB"), (1535, "1KB"), (1536, "2KB"), (72832, "71KB"),
        (1024**2 - 1, "1024KB"), (1024**2, "1MB"), (243860896, "233MB"), (1024**3, "1GB"), (5 * 1024**4, "5120GB"),
        (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_memory_as_upstream_writes_it(size: float, expected: str) -> None:
    """%.0f of B, KB, MB, GB in steps of 1024 (vl_simplenn_display); halves to even, as C rounds."""
    assert memory(size) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [((3, 3), "3"), ((3, 5), "3x5"), ((0, 1, 0, 1), "0x1x0x1"), ((3.5, 3.5), "3.5"), ((1 / 3, 2), "0.3333x2"),
     ((12345, 12345), "1.234e+04"), ((float("nan"),) * 2, "NaNxNaN")],
)  # fmt: skip
def test_sizes_as_upstream_writes_them(values: tuple[float, ...], expected: str) -> None:
    """One %.4g where all are equal (NaN equals nothing), else all of them joined by x."""
    assert dims(values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(999, "999"), (999.6, "1k"), (1004, "1k"), (99950, "100k"), (60965224, "61M"), (3e18, "3e+06T")],
)
def test_counts_have_three_figures(value: float, expected: str) -> None:
    assert count(value) == expected


# -- vl_simplenn_display ----------------------------------------------------------------------------

# The lines of the excerpt are MatConvNet's; the others follow from its rules by hand.
SMALL_CLASSIFIER = """\
     layer|    0|   1|      2|   3|      4|
      type|input|conv|  mpool|relu|softmxl|
      name|  n/a|  c1|     p1|  r1|   loss|
----------|-----|----|-------|----|-------|
   support|  n/a|   5|      2|   1|      1|
  filt dim|  n/a|   1|    n/a| n/a|    n/a|
filt dilat|  n/a|   1|    n/a| n/a|    n/a|
 num filts|  n/a|  20|    n/a| n/a|    n/a|
    stride|  n/a|   1|      2|   1|      1|
       pad|  n/a|   0|0x1x0x1|   0|      0|
----------|-----|----|-------|----|-------|
   rf size|  n/a|   5|      6|   6|      6|
 rf offset|  n/a|   3|    3.5| 3.5|    3.5|
 rf stride|  n/a|   1|      2|   2|      2|
----------|-----|----|-------|----|-------|
 data size|   28|  24|     12|  12|     12|
data depth|    1|  20|     20|  20|      1|
  data num|    1|   1|      1|   1|      1|
----------|-----|----|-------|----|-------|
  data mem|  3KB|45KB|   11KB|11KB|   576B|
 param mem|  n/a| 2KB|     0B|  0B|     0B|
parameter memory|2KB (5.2e+02 parameters)|
     data memory| 71KB (for batch size 1)|
"""


def test_small_classifier_is_shown_to_the_letter() -> None:
    assert matconvnet_text(network_table(nets.small_classifier())) == SMALL_CLASSIFIER


@pytest.mark.parametrize(
    ("layer", "size", "offset", "stride"),
    [
        ("conv1", 11, 6, 4), ("pool1", 19, 10, 8), ("conv2", 51, 10, 8), ("pool2", 67, 18, 16), ("conv3", 99, 18, 16),
        ("conv4", 131, 18, 16), ("conv5", 163, 18, 16), ("pool5", 195, 34, 32), ("fc6", 355, 114, 32),
    ],
)  # fmt: skip
def test_receptive_fields_of_alexnet(layer: str, size: float, offset: float, stride: float) -> None:
    """As vl_simplenn_display shows them for AlexNet on 227 x 227."""
    field = rows(nets.alexnet())[layer].fields["input"]
    assert field is not None
    assert (field.size, field.offset, field.stride) == ((size, size), (offset, offset), (stride, stride))


def test_sizes_of_alexnet() -> None:
    """Output sizes from the paper; 105 and 224 million multiply-adds of conv1 and conv2 are prod(output) x filter."""
    found = rows(nets.alexnet(), batch=10)
    sizes = {name: found[name].output_shapes[0] for name in ("conv1", "pool1", "conv2", "pool2", "pool5", "fc6")}
    assert sizes == {
        "conv1": (10, 96, 55, 55), "pool1": (10, 96, 27, 27), "conv2": (10, 256, 27, 27), "pool2": (10, 256, 13, 13),
        "pool5": (10, 256, 6, 6), "fc6": (10, 4096, 1, 1),
    }  # fmt: skip
    assert found["conv1"].multiply_adds == 10 * 55 * 55 * 96 * 11 * 11 * 3
    assert found["conv2"].multiply_adds == 10 * 27 * 27 * 256 * 5 * 5 * 48
    assert found["fc6"].param_count == 6 * 6 * 256 * 4096 + 4096


def test_more_than_18_columns_go_on_in_a_second_block() -> None:
    """20 layers and the input are 21 columns: 18 and 3."""
    layers = [{"type": "relu", "name": f"r{index}"} for index in range(1, 21)]
    lines = matconvnet_text(network_table(nets.simplenn(layers))).splitlines()
    heads = [line for line in lines if line.lstrip().startswith("layer|")]
    assert [len(line.split("|")) - 2 for line in heads] == [18, 3]
    assert heads[1].replace(" ", "") == "layer|18|19|20|"


def test_the_same_tables_for_latex() -> None:
    """A rule is a line of its own, and what LaTeX would take for a command is taken literally."""
    layers = [{"type": "relu", "name": "r_1"}, {"type": "relu", "name": "50% & \\x"}]
    lines = matconvnet_text(network_table(nets.simplenn(layers)), latex=True).splitlines()
    assert lines[:5] == [
        r"\begin{tabular}{rrrr}",
        r"layer & 0 & 1 & 2 \\",
        r"type & input & relu & relu \\",
        r"name & n/a & r\_1 & 50\% \& \textbackslash{}x \\",
        r"\hline",
    ]
    assert lines.count(r"\end{tabular}") == 2


def test_without_a_size_upstream_shows_nan_and_the_fields_all_the_same() -> None:
    """The depth is known behind the first filters; 1 + 4 = 5 pixels wide, centred at 3."""
    lines = matconvnet_text(network_table(nets.simplenn([nets.conv("c", 5, 5, 2, 7)]))).splitlines()
    cells = {line.split("|")[0].strip(): [cell.strip() for cell in line.split("|")[1:-1]] for line in lines}
    assert cells["rf size"] == ["n/a", "5"]
    assert cells["rf offset"] == ["n/a", "3"]
    assert cells["data size"] == ["NaNxNaN", "NaNxNaN"]
    assert cells["data depth"] == ["NaN", "7"]
    assert cells["data mem"] == ["NaN", "NaN"]
    assert cells["data memory"] == ["NaN (for batch size 1)"]


def test_dilated_filters_in_a_chain() -> None:
    """3x5 filters dilated by 2 and 3 span 5x13; pads [1 2 0 3]: offsets 1 + 2 - 1 and 1 + 6 - 0 (by hand)."""
    layer = {**nets.conv("c", 3, 5, 2, 7), "dilate": nets.row(2, 3), "pad": nets.row(1, 2, 0, 3)}
    lines = matconvnet_text(network_table(nets.simplenn([layer], inputSize=nets.row(9, 17, 2)))).splitlines()
    cells = {line.split("|")[0].strip(): line.split("|")[2].strip() for line in lines if line.count("|") == 3}
    found = [cells[name] for name in ("support", "filt dim", "filt dilat", "num filts", "pad", "rf size", "rf offset")]
    assert found == ["5x13", "2", "2x3", "7", "1x2x0x3", "5x13", "2x7"]
    assert cells["data size"] == "8"  # 9 + 3 - 5 + 1 and 17 + 3 - 13 + 1


@pytest.mark.parametrize(
    ("struct", "expected"),
    [
        (nets.pool("p", 2, 2, method="avg"), "apool"),
        (nets.pool("p", 2, 2), "mpool"),
        ({"type": "normalize", "name": "n"}, "norm"),
        ({"type": "lrn", "name": "n"}, "lrn"),
        ({"type": "softmax", "name": "s"}, "softmx"),
        ({"type": "sigmoid", "name": "s"}, "sigmoid"),
        ({"type": "dropout", "name": "d"}, "dropout"),
        ({"type": "whatever", "name": "w"}, "whatever"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_type_abbreviations(struct: dict[str, Any], expected: str) -> None:
    lines = matconvnet_text(network_table(nets.simplenn([struct]))).splitlines()
    assert lines[1].split("|")[2].strip() == expected


# -- DagNN.print -------------------------------------------------------------------------------------

# By hand: pad [1 1 2 2] and 3x5 filters keep 7x11, 2/2 max pooling gives 3x5; two images.
DAG_TEXT = """\
   func|   conv|   pool|join|
-------|-------|-------|----|
   type|   Conv|Pooling| Odd|
 inputs|   data|      x|   y|
outputs|      x|      y|   o|
 params|    f b|       |    |
    pad|1x1x2x2|      0| n/a|
 stride|      1|      2| n/a|

 param|      f|  b|
------|-------|---|
  dims|3x5x6x4|4x1|
   mem|    1KB|16B|
fanout|      1|  1|

   var|    data|       x|      y|  o|
------|--------|--------|-------|---|
  dims|7x11x6x2|7x11x4x2|3x5x4x2|n/a|
   mem|     4KB|     2KB|   480B|NaN|
 fanin|       0|       1|      1|  1|
fanout|       1|       1|      1|  0|

params|1KB|
  vars|6KB|
 total|8KB|

rf in 'data'|  x|  y|  o|
------------|---|---|---|
        size|3x5|4x6|n/a|
      stride|  1|  2|n/a|
      offset|  1|1.5|n/a|
"""


def test_a_dag_is_shown_as_dagnn_print_does() -> None:
    assert matconvnet_text(network_table(nets.small_dag(), batch=2)) == DAG_TEXT


# -- the table ---------------------------------------------------------------------------------------


def test_convolution_transpose_has_its_own_field() -> None:
    """DagNN's formulas for 4x4 filters, upsample 2, crop 1: size 3/2 + 1, stride 1/2, offset (2 - 4 + 1)/4 + 1."""
    graph = nets.Graph()
    graph.net.params["f"] = Param(nets.zeros(4, 4, 5, 3))
    graph.net.add(Layer("up", ConvTranspose(hasBias=False, upsample=2, crop=1), ["data"], ["up"], ["f"]))
    row = rows(graph.net)["up"]
    field = row.fields["data"]
    assert field is not None
    assert (field.size, field.stride, field.offset) == ((2.5, 2.5), (0.5, 0.5), (0.75, 0.75))
    assert row.output_shapes == ((1, 5, 112, 144),)  # 2 * (56 - 1) + 4 - 2 and 2 * (72 - 1) + 4 - 2


def test_two_paths_see_what_either_sees() -> None:
    """A 3x3 and a 7x7 filter beside each other, then their sum: the union is 7x7."""
    graph = nets.Graph()
    graph.sum("both", graph.conv("three", "data", 5), graph.conv("seven", "data", 5, 7))
    field = rows(graph.net)["both"].fields["data"]
    assert field is not None and field.size == (7, 7) and field.offset == (1, 1)


def test_a_crop_sees_nothing_of_its_reference() -> None:
    """The field behind dagnn.Crop is its first input's, moved by the crop."""
    graph = nets.Graph()
    graph.add("Crop", "cut", [graph.conv("a", "data", 5), graph.pool("b", "data")], crop=(2, 3))
    field = rows(graph.net)["cut"].fields["data"]
    assert field is not None and field.size == (3, 3) and field.offset == (3, 4)


def test_declared_filter_sizes_do_not_matter() -> None:
    """DagNN runs with the filters; a declaration of 1x1 must not show in the field."""
    graph = nets.Graph()
    graph.net.params["f"] = Param(nets.zeros(3, 5, 3, 4))
    graph.net.add(Layer("conv", Conv(hasBias=False, size=(1, 1, 3, 4)), ["data"], ["y"], ["f"]))
    row = rows(graph.net)["conv"]
    assert row.filters == (3, 5, 3, 4)
    assert row.fields["data"] is not None and row.fields["data"].size == (3, 5)


def test_fields_are_known_without_sizes_unless_they_depend_on_them() -> None:
    """Global pooling sees the whole image, whose size is not known."""
    graph = nets.Graph()
    graph.net.meta.clear()
    graph.add("GlobalPooling", "everything", [graph.conv("conv", "data", 5)])
    found = rows(graph.net)
    assert found["conv"].output_shapes == (None,)
    assert found["conv"].fields["data"] is not None and found["conv"].fields["data"].size == (3, 3)
    assert "data" not in found["everything"].fields


def test_a_real_chain_shows_its_field_without_a_size() -> None:
    """sn_dncnn: every convolution is 3x3 with stride 1, so n of them see 1 + 2n pixels."""
    net = matnet.load(DATA / "matconvnet" / "sn_dncnn" / "model.mat")
    table = network_table(net)
    convolutions = sum(row.kind == "conv" for row in table.layers)
    field = table.layers[-1].fields["input"]
    assert convolutions > 2 and field is not None
    assert field.size == (1 + 2 * convolutions,) * 2


def test_totals_count_shared_params_once_and_every_variable() -> None:
    """3*5*3*4 filter elements; 56 x 72 images of 3, 4 and 4 channels, hand-summed."""
    graph = nets.Graph()
    graph.net.params["f"] = Param(nets.zeros(3, 5, 3, 4))
    for name in ("a", "b"):
        graph.net.add(Layer(name, Conv(hasBias=False, pad=(1, 2)), ["data"], [name], ["f"]))
    table = network_table(graph.net)
    assert table.param_count == 180
    assert [row.param_count for row in table.layers] == [180, 180]
    assert table.data_bytes == 4 * 56 * 72 * (3 + 4 + 4)
    assert table.multiply_adds == 2 * 56 * 72 * 4 * 45


def test_losses_have_the_sizes_that_upstream_declares() -> None:
    """H x W x 1 x 1 in a SimpleNN; 1 x 1 x 1 x N in a DagNN. Neither needs labels to be known."""
    assert rows(nets.small_classifier(), batch=5)["loss"].output_shapes == ((1, 1, 12, 12),)
    graph = nets.Graph()
    graph.add("Loss", "loss", ["data", "label"])
    assert rows(graph.net, batch=5)["loss"].output_shapes == ((5, 1, 1, 1),)
