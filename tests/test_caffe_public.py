"""Small Caffe definitions with the faults and dialects of public files, against values that were calculated apart.

Each folder of tests/data/caffe_public holds net.prototxt, net.caffemodel where weights are needed, io.npz (in__BLOB and
out__BLOB, with __ for a slash) and case.json: options of convert_caffe, a text that a refusal must hold, or null where
the network must run, and where the values come from (`direct`: numpy or torch; `opencv`: OpenCV 4's dnn module).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matnet
from matnet.errors import MatnetError
from tests.conftest import DATA

FOLDER = DATA / "caffe_public"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/case.json"))
TOLERANCE = 2e-5
LARGE_ENOUGH = 1e-3


def _computed(folder: Path, options: dict[str, Any], backend: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(folder / "io.npz") as stored:
        io = dict(stored)
    given = {name[4:].replace("__", "/"): value for name, value in io.items() if name.startswith("in__")}
    wanted = {name[5:].replace("__", "/"): value for name, value in io.items() if name.startswith("out__")}
    weights = folder / "net.caffemodel"
    net = matnet.convert_caffe(
        folder / "net.prototxt", weights if weights.exists() else None, **{"color_format": "rgb", **options}
    )
    inputs = {name: value.reshape(value.shape + (1,) * (4 - value.ndim)) for name, value in given.items()}
    return net.forward(inputs, list(wanted) or None, backend=backend), wanted


def assert_like(found: Any, expected: np.ndarray, name: str) -> None:
    """The same number of values, finite at the same places, and equal to 2e-5 of the greatest."""
    a, b = np.asarray(found).ravel().astype(float), expected.ravel().astype(float)
    assert a.size == b.size, f"{name}: {np.shape(found)}, expected {expected.shape}"
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.isfinite(a), finite, err_msg=name)
    tolerance = TOLERANCE * max(LARGE_ENOUGH, np.abs(b[finite]).max(initial=0))
    np.testing.assert_allclose(a[finite], b[finite], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("backend", ["numpy", "onnx"])
@pytest.mark.parametrize("case", CASES)
def test_a_public_kind_of_definition(case: str, backend: str) -> None:
    folder = FOLDER / case
    spec = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    if spec["want"] is not None:
        with pytest.raises(MatnetError) as refusal:
            _computed(folder, spec["opts"], backend)
        assert spec["want"].lower() in str(refusal.value).lower()
        return
    found, wanted = _computed(folder, spec["opts"], backend)
    for name, value in wanted.items():
        assert_like(found[name], value, name)
