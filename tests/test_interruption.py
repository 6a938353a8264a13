"""Ctrl-C in a command: one line and status 130, whatever is at work and whatever it makes of it; errors stay errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from matnet.__main__ import verbs

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds; all is over long before
COMMANDS = ["convert", "diff", "eval", "run", "show", "zoo", "benchmarks", "benchmarks.pipeline"]

# Modules that stand in for one that a command loads.
SLOW = f"import time\nprint('loading', flush=True)\ntime.sleep({PATIENCE})\n"
DEAF = f"import time\nprint('loading', flush=True)\ntry:\n    time.sleep({PATIENCE})\nexcept BaseException:\n    pass\n"
BROKEN = "raise RuntimeError('a library that is out of order')\n"
WAIT = f"print('loading', flush=True); time.sleep({PATIENCE})"
CONVERTS = f"import time\ntry:\n    {WAIT}\nexcept BaseException:\n    raise ImportError('not installed') from None\n"
EXITS = f"import time\ntry:\n    {WAIT}\nexcept BaseException:\n    raise SystemExit(2) from None\n"
LOSES = f"import time\ntry:\n    {WAIT}\nexcept BaseException:\n    pass\ntime.sleep({PATIENCE})\n"
FREES = f"import time\nclass A:\n    def __del__(self):\n        {WAIT}\nA()\ntime.sleep({PATIENCE})\n"
WORKS = f"import threading, time\nthreading.Thread(target=time.sleep, args=({PATIENCE},)).start()\n{WAIT}\n"
CLEANS_UP = f"""import time
try:
    {WAIT}
finally:
    time.sleep(1)
    print('cleaned up', flush=True)
"""
INTERRUPTS_ITSELF = "import signal\nsignal.raise_signal(signal.SIGINT)\nraise SystemExit(5)\n"


def started(module: str, *arguments: str, folder: Path, ignoring: bool = False, **stand_ins: str) -> subprocess.Popen:
    """`python -m <module>`, which finds modules in `folder` before the real ones of these names."""
    for name, text in stand_ins.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "MATNET_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # pytest may itself run where Ctrl-C is ignored, which a process passes on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignoring else signal.SIG_DFL),
    )


def interrupted_while_loading(
    process: subprocess.Popen, number: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """Send a signal once a stand-in says that it is being loaded; exit status, what came after on stdout, and stderr.

    The note of eval that says how labels are matched comes before the run, and is left out.
    """
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE / 2)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, re.sub("^.*are matched by name.*\n", "", err)


needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")


@needs_signals
@pytest.mark.parametrize("command", COMMANDS)
def test_while_the_first_modules_load(command: str, tmp_path: Path) -> None:
    """Every command loads numpy."""
    process = started(f"matnet.{command}", "--help", folder=tmp_path, numpy=SLOW)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_while_a_module_loads_that_catches_everything(tmp_path: Path) -> None:
    process = started("matnet.eval", folder=tmp_path, numpy=DEAF)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_while_a_module_loads_that_only_some_work_needs(tmp_path: Path) -> None:
    """By then exceptions are on, so that what was begun is cleaned up."""
    process = started("matnet.eval", "--backend", "numpy", folder=tmp_path, tqdm=SLOW)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
@pytest.mark.parametrize("command", verbs())
def test_what_becomes_another_error_is_an_interruption_still(command: str, tmp_path: Path) -> None:
    """As compiled modules do: onnxruntime answers Ctrl-C with `ImportError: initialization failed`."""
    (tmp_path / "layers.py").write_text(CONVERTS)
    process = started(f"matnet.{command}", "--import", str(tmp_path / "layers.py"), folder=tmp_path)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
@pytest.mark.parametrize("text", [EXITS, LOSES, FREES, WORKS], ids=["exits", "loses", "frees", "works"])
def test_what_is_lost_comes_again(text: str, tmp_path: Path) -> None:
    process = started("matnet.eval", "--backend", "numpy", folder=tmp_path, tqdm=text)
    assert interrupted_while_loading(process) == (130, "", "matnet: interrupted\n")


@needs_signals
def test_what_cleans_up_is_left_in_peace(tmp_path: Path) -> None:
    """It takes longer than the time after which a lost Ctrl-C comes again."""
    process = started("matnet.eval", "--backend", "numpy", folder=tmp_path, tqdm=CLEANS_UP)
    assert interrupted_while_loading(process) == (130, "cleaned up\n", "matnet: interrupted\n")


@needs_signals
@pytest.mark.parametrize("text", [CONVERTS, LOSES], ids=["converts", "loses"])
def test_a_termination_is_not_lost_either(text: str, tmp_path: Path) -> None:
    """Where a command finishes its work on SIGTERM."""
    (tmp_path / "command.py").write_text(
        "from matnet.command_line import run_command\nfrom matnet.interrupts import termination_raised\n"
        "def main(argv):\n    with termination_raised():\n        import slow\n"
        "raise SystemExit(run_command(main, []))\n"
    )
    process = started("command", folder=tmp_path, slow=text)
    assert interrupted_while_loading(process, signal.SIGTERM) == (143, "", "matnet: interrupted\n")


@needs_signals
def test_where_it_is_ignored_it_stays_so(tmp_path: Path) -> None:
    """As for a command in the background of a script: the stand-in goes on, to its own exit."""
    process = started("matnet.eval", folder=tmp_path, ignoring=True, numpy=INTERRUPTS_ITSELF)
    assert (*process.communicate(timeout=PATIENCE), process.returncode) == ("", "", 5)


@pytest.mark.parametrize("command", ["eval", "zoo"])
def test_errors_of_loading_are_not_hidden(command: str, tmp_path: Path) -> None:
    process = started(f"matnet.{command}", "--help", folder=tmp_path, numpy=BROKEN)
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
