"""Every file of the hostile corpus gives a result or one MatnetError, and takes time in proportion to its size.

The corpus is written by `python -m tests.fuzz.corpus`; each file is an input that once ended in another exception, took
minutes, or took all memory.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import matnet
from matnet.converters.export.whole_graph import structure, whole_graph
from tests.fuzz import corpus
from tests.fuzz.kinds import KINDS, mutant, seeds_of, verdict

FILES = sorted(path for path in corpus.HOSTILE.rglob("*") if path.is_file())
REFUSED = ("lrn-nan", "lrn-infinite", "spnorm-nan", "pdist-zero", "absurd-pad", "alias-bomb", "timestamp", "bad-offset")
REFUSED += ("sizes-of-inputs", "sizes-that-are-none", "numbers", "address", "mean", "mean-elsewhere")
REFUSED += ("external", "virtual", "link", "soft-link", "large")


@pytest.mark.process
@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(corpus.HOSTILE)))
def test_a_hostile_file_gives_a_result_or_one_error(file: Path, tmp_path: Path) -> None:
    kind = file.parent.name
    copy = tmp_path / f"copy{KINDS[kind].suffix}"
    copy.write_bytes(file.read_bytes())
    found = verdict(kind, copy)
    assert found == "refused" if file.name.split(".")[0] in REFUSED else found in ("read", "refused")


@pytest.mark.process
def test_the_corpus_is_what_its_script_writes(tmp_path: Path) -> None:
    corpus.write(tmp_path)
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(corpus.HOSTILE)): path.read_bytes() for path in FILES}
    assert written.keys() == kept.keys()
    differing = [name for name in kept if kept[name] != written[name]]
    assert all(kept[name][:4] == b"\x89HDF" or "mat73" in name for name in differing), "releases of HDF5 differ"


@pytest.mark.process
@pytest.mark.parametrize("kind", ["archive", "arrays", "card", "classes", "image", "list", "state"])
def test_mutations_reach_what_lies_behind_the_first_check(kind: str, tmp_path: Path) -> None:
    """The inputs that are mutated are good ones, and so is a part of the mutated ones."""
    file = tmp_path / f"copy{KINDS[kind].suffix}"

    def read(data: bytes) -> bool:
        file.write_bytes(data)
        return verdict(kind, file) == "read"

    assert all(read(data) for _, data in seeds_of(kind)[:8])
    assert sum(read(mutant(kind, 1, number)[1]) for number in range(30)) >= 3


@pytest.mark.process
def test_the_harness_runs_and_counts() -> None:
    """Two inputs of a kind: both are counted, and none is a finding."""
    command = [sys.executable, "-m", "tests.fuzz", "--kind", "state", "--rounds", "2", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^state +2 ", done.stdout, re.MULTILINE)
    assert "2 inputs, seed 1; 0 different findings" in done.stdout


@pytest.mark.process
def test_a_caffe_graph_of_other_layers_is_no_record() -> None:
    """A file may state any layers beside the right digest of the network's own."""
    net = matnet.load(corpus.HOSTILE / "mat5" / "same-names.mat")
    texts = {field: [""] for field in ("record", "shapes", "variables", "blobs")}
    kept = {**texts, "prototxt": 'layer { name: "y" type: "ReLU" }', "plain": ["y"], "checksum": structure(net)}
    assert whole_graph(net, {**kept, "plain": [next(iter(net.layers))], "shapes": []}, {}) is not None
    assert whole_graph(net, {**kept, "shapes": []}, {}) is None
    assert whole_graph(net, {**kept, "shapes": [[float("inf")]]}, {}) is None
