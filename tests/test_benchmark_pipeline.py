"""The benchmark of the pipeline: its arithmetic, by hand, and one small run without peers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from matnet.benchmarks import pipeline
from matnet.benchmarks.pipeline import ENGINE, OURS, PREPARATION, StageRow, perfect_overlap, table
from matnet.errors import MatnetError

ROWS = [
    StageRow(ENGINE[0], 100.0, [100.0, 120.0], [2.0, 2.0]),
    StageRow(ENGINE[1], 110.0, [150.0, 60.0], [2.0, 1.8]),
    StageRow(PREPARATION, 300.0, [300.0, 480.0], [1.5, 1.9]),
    StageRow(OURS, 90.0, [90.0, 96.0], [2.0, 2.0], top1_error=37.5, top5_error=12.0),
    StageRow("peer", 45.0, [45.0, 24.0], [1.0, 1.0]),
]


def test_perfect_overlap_takes_the_faster_engine_of_each_round() -> None:
    """1 / (1/150 + 1/300) = 100; 1 / (1/120 + 1/480) = 96."""
    np.testing.assert_allclose(perfect_overlap(ROWS), [100, 96])
    np.testing.assert_allclose(perfect_overlap([ROWS[0], *ROWS[2:]]), [75, 96])


def test_ratios_are_of_the_same_round() -> None:
    """To the peer: 90/45 = 2 and 96/24 = 4; to perfect overlap 0.90 and 1.00."""
    lines = {re.split(r"\s{2,}", line.strip())[0]: line.split() for line in table(ROWS, [100, 96]).splitlines()}
    assert lines["peer"] == ["peer", "45.0", "24.0", "45.0", "1.00", "3.00"]
    assert lines["perfect overlap"][-1] == "0.95"
    assert lines[OURS][-3:] == ["1.00", "37.50", "12.00"]


@pytest.mark.process
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.json"
    options = ["--images", "5", "--batch-size", "2", "--rounds", "1", "--threads", "2", "--peers", ""]
    assert pipeline.main([*options, "--json", str(target)]) == 0
    record = json.loads(target.read_text())
    assert [row["name"] for row in record["rows"]] == [*ENGINE, PREPARATION, OURS]
    assert all(row["images_per_s"] > 0 and len(row["rounds"]) == 1 for row in record["rows"])
    assert len(record["perfect_overlap"]) == 1
    assert "5 JPEGs, batch 2, 2 threads" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"), [(["--peers", "caffe"], "unknown peer 'caffe'"), (["--rounds", "0"], "must be at least 1")]
)
def test_wrong_options(options: list[str], message: str) -> None:
    with pytest.raises(MatnetError, match=message):
        pipeline.main(options)
