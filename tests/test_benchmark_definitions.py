"""The benchmark that tries Caffe definitions: which steps one passes, and why it goes no further."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matnet.benchmarks.definitions import TrialLimits, attempt, main

IMAGES = "layer { name: 'd' type: 'Data' top: 'data' %s }"
FILTERS = (
    "layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c' "
    "convolution_param { num_output: 2 kernel_size: 3 %s } }"
)
TRAIN_FILTERS = FILTERS.replace("layer {", "layer { include { phase: TRAIN }") % ""
SIZED = "input: 'data' input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 8"
WEIGHED = "layer { name: 'f' type: 'InnerProduct' bottom: 'c' top: 'f' inner_product_param { num_output: 2 } %s }"
TRAIN = "include { phase: TRAIN }"
ONLY_TEST = "layer { name: 'x' type: 'ReLU' bottom: 'nothing' top: 'x' include { phase: TEST } }"

DEFINITIONS = {
    "runs": (f"{SIZED} {FILTERS % ''}", ["read strictly", "built", "sized", "ran"], ""),
    "leniently": (
        f"{SIZED} {FILTERS % 'odd: 1'}", ["read leniently", "built", "sized", "ran"], "",
    ),
    "size_for_running": (f"{IMAGES % ''} {FILTERS % ''}", ["read strictly", "built", "sized", "ran"], ""),
    "size_for_building": (
        f"{IMAGES % ''} {FILTERS % ''} {WEIGHED % ''}", ["read strictly", "built with help", "sized", "ran"], "",
    ),
    "train": (
        f"{IMAGES % TRAIN} {TRAIN_FILTERS} {ONLY_TEST}", ["read strictly", "built with help", "sized", "ran"], "",
    ),
    "unknown": (
        f"{SIZED} {FILTERS % ''} layer {{ name: 'o' type: 'Oddity' bottom: 'c' top: 'o' }} ",
        ["read strictly"], "layers of unknown types",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_steps_of_a_definition(name: str, tmp_path: Path) -> None:
    text, steps, reason = DEFINITIONS[name]
    path = tmp_path / f"{name}.prototxt"
    path.write_text(text)
    trial = attempt(path, TrialLimits(), forward=True)
    assert (trial.steps, trial.reason) == (steps, reason), trial.text
    assert trial.types == (["Oddity"] if name == "unknown" else [])


def test_a_network_beyond_the_limit_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "large.prototxt"
    path.write_text(DEFINITIONS["runs"][0])
    assert attempt(path, TrialLimits(operations=1e-6), forward=True).steps[-1] == "too large to run"


@pytest.mark.process
def test_a_folder_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (text, _, _) in DEFINITIONS.items():
        (tmp_path / f"{name}.prototxt").write_text(text)
    assert main([str(tmp_path), "--json", str(tmp_path / "found.json"), "--memory", "64"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["definitions"] == len(DEFINITIONS)
    assert found["steps"]["ran"] == sum("ran" in steps for _, steps, _ in DEFINITIONS.values())
    assert found["unknown_types"] == {"Oddity": 1}
    assert "Oddity" in capsys.readouterr().out
