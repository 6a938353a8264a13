"""Trials of model cards: small models run here with random weights, and every fault of a card is found.

All models run in `.ci/nightly`. The faulty cards are digits-lenet's, with one fact changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matnet.network import Network
from matnet.samples import sample_inputs
from matnet.zoo import find_card, random_network
from matnet.zoo.__main__ import main
from matnet.zoo.trial import FAILED, OK, UNDEFINED, trials

SMALL = ["digits-lenet", "nin-cifar10", "age-net", "gender-net", "hed-bsds", "bvlc_googlenet", "googlenet-cars",
         "imagenet-googlenet-dag", "googlenet-princeton-places", "places205-googlenet", "nin-imagenet"]  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("name", SMALL)
def test_a_small_model_runs_with_random_weights(name: str) -> None:
    (trial,) = trials([find_card(name)], forward=True)
    assert (trial.status, trial.faults, trial.ran) == (OK, [], True)


@pytest.mark.process
def test_numpy_runs_one_too() -> None:
    (trial,) = trials([find_card("nin-cifar10")], forward=True, backend="numpy")
    assert (trial.status, trial.outputs) == (OK, {"pool3": (1, 10, 1, 1)})


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "parameters": ({"parameters": 13_705}, "13,706 parameters, the card says 13,705"),
    "layers": ({"layers": 8}, "layers, the card says 8"),
    "labels": ({"labels": {"count": 9}}, "'prob' is 1x10x1x1, but the card has 9 labels"),
    "names": ({"labels": {"count": 10, "names": ["zero"]}}, "the card names 1 of 10 labels"),
    "no outputs": ({"outputs": ()}, "the card lists no outputs"),
    "unknown output": ({"outputs": ("prop",)}, "prop"),
    "unknown input": ({"inputs": {"image": (1, 8, 8)}}, "image"),
    "another size": ({"inputs": {"data": (1, 3, 8)}}, "layer 'pool2'"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_wrong_card_is_found_out(what: str) -> None:
    fields, fault = CHANGED[what]
    (trial,) = trials([replace(find_card("digits-lenet"), **fields)], forward=True)
    assert trial.status == FAILED
    assert any(fault in found for found in trial.faults), trial.faults


ANSWERS = {
    "NaN": (np.full((1, 10, 1, 1), np.nan, np.float32), "'prob' holds 10 NaN or infinite values"),
    "another size": (np.eye(10, dtype=np.float32)[:, :, None, None], "'prob' has shape 10x10x1x1; expected 1x10x1x1"),
    "all the same": (np.full((1, 10, 1, 1), 0.25, np.float32), "'prob' is 0.25 everywhere"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_found_out(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, fault = ANSWERS[case]
    monkeypatch.setattr(Network, "forward", lambda *arguments, **options: {"prob": answer})
    (trial,) = trials([find_card("digits-lenet")], forward=True)
    assert (trial.status, trial.faults) == (FAILED, [fault])


def test_an_unknown_definition_is_no_failure() -> None:
    (trial,) = trials([find_card("fcn-32s-nyudv2")], forward=True)
    assert (trial.status, trial.faults, trial.ran) == (UNDEFINED, [], False)


@pytest.mark.process
def test_inputs_are_what_their_readers_take() -> None:
    boxed = random_network("fast-rcnn-caffenet-pascal07-dagnn")
    shapes = {"data": (1, 3, 40, 60), "rois": (2, 5, 1, 1)}
    np.testing.assert_array_equal(
        sample_inputs(boxed, shapes)["rois"].reshape(2, 5), [[1, 1, 1, 60, 40], [1, 1, 1, 60, 20]]
    )
    worded = random_network("video2text-vgg-mean-pool")
    inputs = sample_inputs(worded, worded.input_shapes)
    np.testing.assert_array_equal(inputs["cont_sentence"].reshape(-1), [0] + [1] * 19)
    words = inputs["input_sentence"]
    np.testing.assert_array_equal(words, np.floor(words))
    assert words.min() >= 0 and words.max() < 12594


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--forward", "digits-lenet", "ccnn", "--task", "classification"]) == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line.startswith("ok        digits-lenet: ran, 13,706 parameters, prob 1x10x1x1 (")
    assert total == "1 models, 0 failed"
    assert main(["check", "ccnn", "--json"]) == 0
    assert [record["model"] for record in json.loads(capsys.readouterr().out)] == ["ccnn-fcn32s", "ccnn-fcn8s"]


def test_the_command_fails_where_a_card_is_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    wrong = replace(find_card("digits-lenet"), parameters=1, folder=Path("nowhere"))
    monkeypatch.setattr("matnet.zoo.__main__.known_cards", lambda name: [wrong])
    assert main(["check", "digits-lenet"]) == 1
    assert capsys.readouterr().out.splitlines()[1] == "1 models, 1 failed"


def test_a_backend_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", "digits-lenet", "--forward", "--backend", "nonsense"])
    assert stopped.value.code == 2 and "nonsense" in capsys.readouterr().err
