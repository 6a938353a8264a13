"""Model cards: the reader's faults, the schema of every card, and that definitions are what the cards say."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml

from matnet.errors import FileFormatError
from matnet.files import models_folder
from matnet.network import Network
from matnet.zoo import Card, all_cards, random_network
from matnet.zoo.cards import read_cards
from matnet.zoo.model_info import export_info
from matnet.zoo.random_weights import skeleton

FOLDERS = sorted(path.parent for path in models_folder().glob("*/readme.md"))

MINIMAL = """
    name: A model
    license: BSD
    task: classification
    format: simplenn
    definition: unknown
    citation: ["A. Author: A title. A venue, 2014."]
"""


def write_card(folder: Path, fields: str, prose: str = "# A model") -> Path:
    folder.mkdir()
    (folder / "readme.md").write_text(f"---\n{dedent(fields).strip()}\n---\n\n{prose}\n")
    return folder


def read(tmp_path: Path, fields: str) -> Card:
    return read_cards(write_card(tmp_path / "a-model", fields))[0]


# -- the reader -----------------------------------------------------------------------------------------


def test_a_minimal_card(tmp_path: Path) -> None:
    card = read(tmp_path, MINIMAL)
    assert (card.name, card.title, card.mat, card.prose) == ("a-model", "A model", "a-model.mat", "# A model")
    assert (card.files, card.md5, card.prototxt, card.parameters) == ((), {}, None, None)


def test_caffes_fields_and_the_entry_make_one_file(tmp_path: Path) -> None:
    fields = f"""
    caffemodel: a.caffemodel
    caffemodel_url: http://one/a.caffemodel
    sha1: {"a" * 40}
    caffe_files:
      - role: caffemodel
        urls: ["http://two/a.caffemodel"]
        md5: {"b" * 32}
        size: 17
    """
    file = read(tmp_path, dedent(MINIMAL) + dedent(fields)).file("caffemodel")
    assert file is not None
    assert file.urls == ("http://one/a.caffemodel", "http://two/a.caffemodel")
    assert file.hashes == {"md5": "b" * 32, "sha1": "a" * 40}
    assert (file.file, file.size) == ("a.caffemodel", 17)


def test_variants_are_models_of_their_own(tmp_path: Path) -> None:
    fields = dedent(MINIMAL) + "parameters: 7\nvariants:\n  one: {aliases: [eins]}\n  two: {parameters: 8}\n"
    one, two = read_cards(write_card(tmp_path / "family", fields))
    assert (one.name, one.family, one.aliases, one.parameters) == ("one", "family", ("eins",), 7)
    assert (two.name, two.family, two.aliases, two.parameters) == ("two", "family", (), 8)


FAULTS = {
    "task: cooking": "task is 'cooking'; expected one of classification",
    "sha1: 123": "sha1 is 123; expected 40 lower-case hexadecimal digits",
    "md5: {2016-05-02: abc}": "md5 of 2016-05-02 is 'abc'; expected 32",
    "md5: {spring: abc}": "md5 has the generation 'spring'",
    "caffemodel: ../../evil": "caffemodel is '../../evil'; expected a file name",
    "caffemodel_url: ftp://host/file": "caffemodel_url is 'ftp://host/file'; expected an http or https address",
    "mat_url: http://host/file": "mat_url is 'http://host/file'; expected a list of addresses",
    "introduced: 1066": "introduced is 1066; expected an integer from 1,990 to 2,100",
    "parameters: 3\nparameter_bytes: 13": "parameter_bytes is 13, but 3 parameters of 4 bytes are 12",
    "licence: BSD": "unknown field 'licence'; nearest: license",
    "convert: {preprocesing: caffe}": "convert cannot be used: unknown conversion option 'preprocesing'",
    "convert: {mean: gone.binaryproto}": "convert.mean is 'gone.binaryproto', which is neither in caffe_files nor",
    "inputs: {data: [227, 227]}": "inputs of 'data' is [227, 227]; expected [channels, height, width]",
    "published: [{top1_error: 40}]": "published entry 1: source is missing",
    "published: [{source: x, top1: 40}]": "published entry 1: unknown field 'top1'; nearest: top1_error",
    "caffe_files: [{role: mean, member: a}]": "caffe_files: an entry needs `file` or `common`",
    "caffe_files: [{common: imagenet-men}]": "'imagenet-men' is not in common.yaml",
    "caffe_files: [{file: m, member: ../m}]": "member is '../m'; expected a path inside the archive",
    "caffe_files: [{file: m, member: m}]": "m: `archive` and `member` must be given together",
    "definition: own": "definition is 'own', but there is no deploy.prototxt",
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_are_told(line: str, tmp_path: Path) -> None:
    lines = [given for given in dedent(MINIMAL).strip().splitlines() if given.split(":")[0] != line.split(":")[0]]
    with pytest.raises(FileFormatError) as caught:
        read(tmp_path, "\n".join([*lines, line]))
    assert FAULTS[line] in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"\(4\)") as caught:
        read(tmp_path, "name: A\ntask: cooking\nformat: zip\nlicense: BSD")
    for field in ("definition is missing", "citation is missing", "task is", "format is"):
        assert field in str(caught.value)


NO_CARDS = {
    "no front matter": ("# A title", "no front matter"),
    "one fence": ("---\nname: x", "no front matter"),
    "a list": ("---\n- a\n---", "the front matter is a list"),
    "invalid YAML": ("---\nname: [\n---", "line [23]: invalid YAML"),  # libyaml and PyYAML count differently here
    "a key twice": ("---\nname: a\nname: b\n---", "line 3: 'name' is repeated"),
    "a YAML tag that would run code": ("---\nname: !!python/object/apply:os.getcwd []\n---", "invalid YAML"),
    "not UTF-8": (b"---\nname: \xff\n---", "not UTF-8 at byte 10"),
}


@pytest.mark.parametrize("case", NO_CARDS)
def test_what_is_no_card(case: str, tmp_path: Path) -> None:
    content, reason = NO_CARDS[case]
    (tmp_path / "readme.md").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileFormatError, match=reason):
        read_cards(tmp_path)


# -- every card -----------------------------------------------------------------------------------------


def test_every_folder_has_a_card_that_can_be_read() -> None:
    folders = {path.name for path in models_folder().iterdir() if path.is_dir()}
    assert folders == {card.family or card.name for card in all_cards()}
    assert {"digits-lenet", "imagenet-caffe-alex"} <= folders


@pytest.mark.process
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_definition_is_what_its_card_says(folder: Path) -> None:
    for card in read_cards(folder):
        if card.prototxt is None:
            continue
        net = skeleton(card)
        assert sum(param.value.size for param in net.params.values()) == card.parameters, card.name
        assert card.layers in (None, len(net.layers)), card.name
        assert set(card.inputs) <= {*net.inputs, *net.aliases}, net.inputs
        assert_sizes_follow(net, card)


def assert_sizes_follow(net: Network, card: Card) -> None:
    """Every variable has a size, from the inputs that the card declares; outputs are variables, of as many labels."""
    given = {net.resolve(name): (1, *size) for name, size in card.inputs.items()}
    shapes = net.infer_shapes({**net.input_shapes, **given})
    assert set(net.variables) <= shapes.keys()
    for name in card.outputs:
        assert net.resolve(name) in shapes
    if card.labels.get("count") and len(card.outputs) == 1:
        assert card.labels["count"] in shapes[net.resolve(card.outputs[0])]
    if "names" in card.labels:
        assert len(card.labels["names"]) == card.labels.get("count", len(card.labels["names"]))


def caffes_reading(readme: Path, drops_the_last_line: bool) -> dict[str, Any]:
    """What scripts/download_model_binary.py of BVLC Caffe makes of a readme.md: lines stripped, then read as YAML.

    Its version of 2014 also loses the last line before the second fence.
    """
    lines = [line.strip() for line in readme.read_text().splitlines()]
    top = lines.index("---")
    bottom = lines[top + 1 :].index("---") if drops_the_last_line else lines.index("---", top + 1)
    found: dict[str, Any] = yaml.safe_load("\n".join(lines[top + 1 : bottom]))
    return found


WITH_CHECKSUM = [card.name for card in all_cards() if card.sha1 and card.caffemodel_url and not card.family]


@pytest.mark.parametrize("late", [True, False], ids=["2015 on", "2014"])
@pytest.mark.parametrize("name", WITH_CHECKSUM)
def test_caffes_own_script_reads_the_card_and_what_is_exported(name: str, late: bool, tmp_path: Path) -> None:
    (card,) = read_cards(models_folder() / name)
    export_info(name, tmp_path / "out")
    for readme in (card.folder / "readme.md", tmp_path / "out" / "readme.md"):
        found = caffes_reading(readme, drops_the_last_line=not late)
        wanted = (card.caffemodel, card.caffemodel_url, card.sha1)
        assert (found["caffemodel"], found["caffemodel_url"], found["sha1"]) == wanted


# -- random weights -------------------------------------------------------------------------------------


def test_random_networks_run_and_repeat() -> None:
    images = np.random.default_rng(2).random((3, 1, 8, 8), np.float32)
    first, again, other = (random_network("digits-lenet", seed=seed)(images) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-6)
    assert first.std() > 1e-3, "the answers depend on the image"


NORMALISED = """
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 7 dim: 11 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 6 kernel_h: 3 kernel_w: 5 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }
"""


def test_random_params_keep_activations_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (write_card(tmp_path / "a", MINIMAL.replace("unknown", "own")) / "deploy.prototxt").write_text(NORMALISED)
    monkeypatch.setattr("matnet.zoo.random_weights.find_card", lambda name: read_cards(tmp_path / "a")[0])
    params = {name: param.value for name, param in random_network("a").params.items()}
    assert params["conv_filter"].shape == (3, 5, 3, 6)
    np.testing.assert_allclose(params["conv_filter"].std(), np.sqrt(2 / (3 * 5 * 3)), rtol=0.1)
    np.testing.assert_array_equal(params["conv_bias"], np.zeros((6, 1)))
    np.testing.assert_array_equal(params["bn_mult"].reshape(-1), np.ones(6))
    np.testing.assert_array_equal(params["bn_bias"].reshape(-1), np.zeros(6))
    np.testing.assert_array_equal(params["bn_moments"], [[0, 1]] * 6)


RESIDUAL = NORMALISED.replace("num_output: 6 kernel_h: 3 kernel_w: 5", "num_output: 3 pad: 1 kernel_size: 3") + """
layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "bn" top: "sum" }
layer { name: "twice" type: "Eltwise" bottom: "sum" bottom: "data" top: "twice" }
"""


def test_a_branch_that_is_added_counts_for_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sums, so 1 / sqrt(2); the second adds nothing normalised."""
    (write_card(tmp_path / "a", MINIMAL.replace("unknown", "own")) / "deploy.prototxt").write_text(RESIDUAL)
    monkeypatch.setattr("matnet.zoo.random_weights.find_card", lambda name: read_cards(tmp_path / "a")[0])
    factors = random_network("a").params["bn_mult"].value
    np.testing.assert_allclose(factors.reshape(-1), np.full(3, np.sqrt(0.5)), rtol=1e-7)
