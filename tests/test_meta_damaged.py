"""Fields of `meta.caffe` that hold something else than conversions write are passed over, in whatever reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.converters.export import to_caffe as export
from matnet.evaluation.command import embedded_model
from matnet.formats.mat.values import Cell
from matnet.meta.transposed import flipped_inputs, is_width_first

ODD: list[Any] = [
    Cell([np.zeros((1, 2)), np.zeros((3, 1)), "x"]), {"a": 1.0}, "text", np.zeros((0, 0)), np.array([[np.nan]]), 3.5,
    Cell(), [[1], [2, 3]], None,
]  # fmt: skip


@pytest.mark.parametrize("read", [repr, str, flipped_inputs, is_width_first, export.to_caffe])
@pytest.mark.parametrize("field", ["widthFirst", "flipped", "graph", "layers", "hasWeights"])
@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_a_field_of_another_kind_is_passed_over(value: Any, field: str, read: Callable[[Any], Any]) -> None:
    net = matnet.load(Path(embedded_model()))
    kept = net.meta["caffe"] = {"flipped": Cell(), "graph": {"hasWeights": True}}
    if field == "hasWeights":
        kept["graph"] = {field: value}
    else:
        kept[field] = value
    read(net)
