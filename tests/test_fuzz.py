"""The harness that fuzzes: mutations of any depth, reproducible ones, and workers that end or hang."""

from __future__ import annotations

import random
import struct
import sys
from argparse import Namespace

import pytest

from tests.fuzz import mutations
from tests.fuzz.__main__ import Worker
from tests.fuzz.kinds import KINDS, mutant
from tests.fuzz.mutations import Element


def nested(depth: int) -> list[Element]:
    tree = [Element(9, struct.pack("<d", 3.0))]
    for _ in range(depth):
        tree = [Element(14, tree)]
    return tree


@pytest.mark.process
def test_a_tree_deeper_than_pythons_stack_is_written_and_read() -> None:
    depth = 3 * sys.getrecursionlimit()
    tree = nested(depth)
    packed = mutations._packed(tree)
    assert len(packed) == 8 * depth + 16
    assert mutations._packed(mutations._elements(packed)) == packed
    assert len(mutations._families(tree)) == depth + 1
    assert mutations._packed([mutations._copied(tree[0])]) == packed


@pytest.mark.process
def test_a_tree_never_holds_itself() -> None:
    """An element that takes the place of one inside it is a copy; writing the mutant would not end otherwise."""
    data = bytes(128) + mutations._packed(nested(4) + nested(2))
    for seed in range(300):
        assert len(mutations.of_mat5(data, random.Random(seed))) > 0


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_give_the_same_mutant(kind: str) -> None:
    found = [mutant(kind, 5, number) for number in range(8)]
    assert found == [mutant(kind, 5, number) for number in range(8)]
    assert len(set(found)) > 1


@pytest.mark.process
def test_a_worker_that_ends_and_one_that_hangs_differ_in_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ends": "import os; print('ready', flush=True); input(); os.close(1); os._exit(7)"}
    said["hangs"] = "import time; print('ready', flush=True); time.sleep(60)"
    found = {}
    for name, code in said.items():
        monkeypatch.setattr(Worker, "command", lambda self, options, kinds, code=code: [sys.executable, "-c", code])
        found[name] = Worker(Namespace(), []).try_one("state", 0, seconds=0.2)
    assert found == {"ends": "ended the process with status 7", "hangs": "took more than 0.2 s"}
