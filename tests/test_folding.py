"""Repeated blocks in drawings, and the page that `matnet show --html` writes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from matnet.display.folding import fold
from matnet.display.page import network_page
from matnet.display.svg import network_svg
from matnet.display.table import network_table
from matnet.meta import display_name
from matnet.network import Layer, Network, Param, Source
from matnet.ops.activation import ReLU
from matnet.ops.combine import Sum
from matnet.ops.convolution import Conv
from matnet.show import main as show


def residual(blocks: int, wide_last: bool = False) -> Network:
    """`blocks` residual blocks of five layers each: convolution, ReLU, convolution, sum, ReLU."""
    net = Network()
    random = np.random.default_rng(0)
    last = "data"
    for number in range(blocks):
        size = 5 if wide_last and number == blocks - 1 else 3
        inside = last
        for half in "ab":
            name = f"conv{number}{half}"
            net.params[f"{name}f"] = Param(random.normal(size=(size, size, 4, 4)).astype(np.float32))
            net.params[f"{name}b"] = Param(np.zeros((4, 1), np.float32))
            pad = (size // 2,) * 4
            net.add(Layer(name, Conv(size=(size, size, 4, 4), pad=pad), [inside], [name], [f"{name}f", f"{name}b"]))
            inside = name
            if half == "a":
                net.add(Layer(f"relu{number}a", ReLU(), [inside], [f"relu{number}a"]))
                inside = f"relu{number}a"
        net.add(Layer(f"sum{number}", Sum(), [last, inside], [f"sum{number}"]))
        net.add(Layer(f"relu{number}", ReLU(), [f"sum{number}"], [f"relu{number}"]))
        last = f"relu{number}"
    net.input_shapes["data"] = (1, 4, 9, 7)
    return net


def layers_drawn(svg: str) -> list[str]:
    return re.findall(r'<g class="layer" data-name="([^"]*)"', svg)


def test_equal_blocks_are_drawn_once_and_counted() -> None:
    table = network_table(residual(6))
    folded = fold(table)
    assert [row.name for row in folded.layers[:5]] == ["conv0a", "relu0a", "conv0b", "sum0", "relu0"]
    assert [row.family for row in folded.layers] == [*(row.family for row in table.layers[:5]), "folded"]
    assert "5" in folded.layers[5].name and "conv1a" in folded.layers[5].full_type
    assert folded.layers[5].inputs == ("relu0",) and folded.layers[5].outputs == ("relu5",)
    assert folded.param_count == table.param_count and folded.multiply_adds == table.multiply_adds


def test_a_block_with_other_filters_stays() -> None:
    folded = fold(network_table(residual(4, wide_last=True)))
    names = [row.name for row in folded.layers if row.family != "folded"]
    assert names[:5] == ["conv0a", "relu0a", "conv0b", "sum0", "relu0"]
    assert {"conv3a", "conv3b"} <= set(names)


def test_short_repetitions_stay() -> None:
    table = network_table(residual(2))
    assert fold(table) is table


@pytest.mark.process
def test_unfold_draws_every_layer(tmp_path: Path) -> None:
    net = residual(6)
    table = network_table(net)
    assert len(layers_drawn(network_svg(table))) == 6
    assert layers_drawn(network_svg(table, unfold=True)) == list(net.layers)
    net.save(tmp_path / "net.mat")
    assert show([str(tmp_path / "net.mat"), "--unfold", "--svg", str(tmp_path / "net.svg")]) == 0
    assert len(layers_drawn((tmp_path / "net.svg").read_text())) == len(net.layers)


def test_a_file_of_a_common_name_is_called_by_its_folder(tmp_path: Path) -> None:
    for name, called in (("alexnet/deploy.prototxt", "alexnet"), ("alexnet/vgg.mat", "vgg")):
        assert display_name(Network(source=Source(tmp_path / name))) == called


@pytest.mark.process
def test_the_page_holds_every_layer_and_loads_nothing() -> None:
    net = residual(6)
    net.layers["relu5"].name = "</script><b>"
    net.layers["</script><b>"] = net.layers.pop("relu5")
    page = network_page(net, network_table(net))
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    layers = json.loads(found[1])["layers"]
    assert list(layers) == list(net.layers)
    param = layers["conv2a"]["params"][0]
    values = net.params["conv2af"].value
    assert param["shape"] == "3 x 3 x 4 x 4" and sum(param["bins"]) == values.size
    assert param["bins"] == np.histogram(values.astype(float), 40)[0].tolist()
    assert not re.search(r'(src|href)=|https?://(?!www\.w3\.org/)|@import|url\((?!#)', page)
    assert "default-src 'none'" in page


def browser() -> str:
    """Chromium, where it is installed."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium is installed")


@pytest.mark.process
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """The address's fragment chooses a layer of a folded block: the drawing unfolds, the panel shows its weights."""
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    net = residual(6)
    (tmp_path / "net.html").write_text(network_page(net, network_table(net)), encoding="utf-8")
    address = (tmp_path / "net.html").as_uri()
    done = subprocess.run([*command, "--dump-dom", f"{address}#conv3a"], capture_output=True, text=True, timeout=120)
    panel = re.search(r"<aside.*?</aside>", done.stdout, re.DOTALL)
    assert panel, done.stderr[-2000:]
    assert "<h2>conv3a</h2>" in panel[0] and "conv3af" in panel[0] and "3 x 3 x 4 x 4" in panel[0]
    assert panel[0].count("<rect") == 2 * 40
    assert re.search(r'<g class="layer chosen" data-name="conv3a"', done.stdout)
    assert re.search(r'<div id="folded" hidden', done.stdout)
