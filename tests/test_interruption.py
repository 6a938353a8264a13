"""Ctrl-C while a command's modules load: one line and status 130, whatever is being loaded; errors stay errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds; all is over long before
COMMANDS = ["convert", "diff", "eval", "run", "show", "zoo", "benchmarks", "benchmarks.pipeline"]

# Modules that stand in for one that a command loads.
SLOW = f"import time\nprint('loading', flush=True)\ntime.sleep({PATIENCE})\n"
DEAF = f"import time\nprint('loading', flush=True)\ntry:\n    time.sleep({PATIENCE})\nexcept BaseException:\n    pass\n"
BROKEN = "raise RuntimeError('a library that is out of order')\n"
INTERRUPTS_ITSELF = "import signal\nsignal.raise_signal(signal.SIGINT)\nraise SystemExit(5)\n"


def started(command: str, *arguments: str, folder: Path, ignoring: bool = False, **stand_ins: str) -> subprocess.Popen:
    """`python -m matnet.<command>`, which finds modules in `folder` before the real ones of these names."""
    for name, text in stand_ins.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", f"matnet.{command}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "MATNET_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # pytest may itself run where Ctrl-C is ignored, which a process passes on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignoring else signal.SIG_DFL),
    )


def interrupted_while_loading(process: subprocess.Popen) -> tuple[int, str, str]:
    """Send SIGINT once a stand-in says that it is being loaded; exit status, what came after on stdout, stderr."""
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE / 2)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")


@needs_signals
@pytest.mark.parametrize("command", COMMANDS)
def test_while_the_first_modules_load(command: str, tmp_path: Path) -> None:
    """Every command loads numpy."""
    process = started(command, "--help", folder=tmp_path, numpy=SLOW)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_while_a_module_loads_that_catches_everything(tmp_path: Path) -> None:
    process = started("eval", folder=tmp_path, numpy=DEAF)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_while_a_module_loads_that_only_some_work_needs(tmp_path: Path) -> None:
    """By then exceptions are on, so that what was begun is cleaned up."""
    process = started("eval", "--backend", "numpy", folder=tmp_path, tqdm=SLOW)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_where_it_is_ignored_it_stays_so(tmp_path: Path) -> None:
    """As for a command in the background of a script: the stand-in goes on, to its own exit."""
    process = started("eval", folder=tmp_path, ignoring=True, numpy=INTERRUPTS_ITSELF)
    assert (*process.communicate(timeout=PATIENCE), process.returncode) == ("", "", 5)


@pytest.mark.parametrize("command", ["eval", "zoo"])
def test_errors_of_loading_are_not_hidden(command: str, tmp_path: Path) -> None:
    process = started(command, "--help", folder=tmp_path, numpy=BROKEN)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "RuntimeError: a library that is out of order" in err


@needs_signals
def test_importing_a_command_changes_nothing() -> None:
    code = (
        "import signal\nbefore = signal.getsignal(signal.SIGINT)\nimport matnet.eval, matnet.zoo.__main__\n"
        "assert signal.getsignal(signal.SIGINT) is before"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE)
