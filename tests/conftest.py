"""Where the tests' data lie, what the tests of the published tables run on, and how two results are compared."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from matnet.command_line import log_on_stderr
from tests.fake_machine import machine, processor  # noqa: F401

DATA = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-screenshots", action="store_true", help="write the pictures of docs/images anew")


def conformance_cases(kind: str) -> list[str]:
    """The case folders of tests/data/`kind`."""
    return sorted(path.name for path in (DATA / kind).iterdir() if path.is_dir())


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """max|found - expected| <= tolerance * max(1e-3, max|expected|); on failure the worst index and both values."""
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    a, b = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert np.array_equal(np.isfinite(a), np.isfinite(b)), f"{what}: other values are infinite or NaN"
    difference = np.where(np.isfinite(b), np.abs(np.nan_to_num(a) - np.nan_to_num(b)), 0)
    bound = tolerance * max(1e-3, float(np.abs(np.nan_to_num(b)).max(initial=0)))
    if difference.size and difference.max() > bound:
        worst = np.unravel_index(int(difference.argmax()), difference.shape)
        place = tuple(int(index) for index in worst)
        raise AssertionError(f"{what}: at {place} found {a[worst]!r}, expected {b[worst]!r}, allowed {bound:.3g}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real networks and images, which are not part of the project."""
    folder = os.environ.get("MATNET_REAL_DATA")
    if not folder:
        pytest.skip("MATNET_REAL_DATA is not set: real networks are not part of the project")
    return Path(folder)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty zoo of the user's own, beside the one that matnet brings; nothing is fetched."""
    monkeypatch.setenv("MATNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MATNET_OFFLINE", "1")
    return tmp_path / "home"


def pytest_configure() -> None:
    """Collect no garbage while the tests are collected, which takes a third less time: all of it stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on garbage is collected; the tests themselves are not looked at again."""
    gc.collect()
    gc.freeze()
    gc.enable()


PROCESS_FIXTURES = {"processor"}
"""Fixtures that start a process, such as the compiler of the kernels, for the tests that use them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes through a fixture."""
    for item in items:
        if PROCESS_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A small stand-in for ImageNet."""
    from tests.table_runs import small_imagenet

    return small_imagenet(tmp_path)


@pytest.fixture(autouse=True)
def commands_show_the_log() -> Iterator[None]:
    """`main` of a command, called without `run_command`, shows the log on stderr as the command does."""
    with log_on_stderr():
        yield
