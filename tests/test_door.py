"""The door of every command: no traceback, streams that are closed or ASCII, the log on stderr, damaged arrays."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from matnet import run
from matnet.arrays import read_arrays
from matnet.command_line import run_command
from matnet.zoo import __main__ as zoo
from tests.conftest import DATA

pytestmark = pytest.mark.process

MODEL = DATA / "matconvnet/sn_alexnet/model.mat"


def broken(argv: list[str] | None) -> int:
    raise KeyError("a bug")


def test_a_bug_is_one_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(broken, []) == 1
    err = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert "this is a bug in matnet" in err
    assert str(file) in err
    assert "Traceback" not in err
    assert "KeyError: 'a bug'" in file.read_text()


def test_a_bug_is_shown_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr("tempfile.tempdir", "/none")
    assert run_command(broken, []) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_a_bug_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with pytest.raises(KeyError):
        run_command(broken, ["--debug"])


@pytest.mark.parametrize("wrong", ["--debug=1", "--import", "--debgu"])
def test_a_wrong_option_of_all_commands_is_refused_by_the_command(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, name in ((run.main, "matnet.run"), (zoo.main, "matnet.zoo")):
        with pytest.raises(SystemExit, match="2"):
            run_command(main, [wrong])
        said = capsys.readouterr().err
        assert said.startswith(f"usage: python -m {name} ") and wrong.partition("=")[0] in said.splitlines()[-1]
    assert wrong != "--debgu" or "nearest: --debug" in said


def test_the_log_is_shown_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("matnet"), "handlers", [])
    def main(argv: list[str] | None) -> int:
        logging.getLogger("matnet.somewhere").info("a note")
        return 0

    assert run_command(main, []) == 0
    assert capsys.readouterr() == ("", "matnet: a note\n")
    logging.getLogger("matnet.somewhere").info("a note")
    assert capsys.readouterr() == ("", "")


def started(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line, "sh", sys.executable, str(MODEL)],
        cwd=folder,
        env={**os.environ, "MATNET_HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
    )


LINES = {
    "closed stdout": ('"$1" -m matnet.show "$2" >&-', 0, {}),
    "closed stdout and stderr": ('"$1" -m matnet.show "$2" >&- 2>&-', 0, {}),
    "ASCII": (
        'cp "$2" ü.mat && "$1" -m matnet.show ü.mat && "$1" -m matnet.diff ü.mat "$2" --no-meta --all',
        0,
        {"PYTHONIOENCODING": "ascii"},
    ),
    "a full disk": ('"$1" -m matnet.show "$2" > /dev/full', 2, {}),
    "nobody's home": ('"$1" -m matnet.zoo list', 2, {"MATNET_HOME": "~nouser/x"}),
}


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("what", LINES)
def test_no_traceback(what: str, tmp_path: Path) -> None:
    line, status, environment = LINES[what]
    done = started(line, tmp_path, **environment)
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    named = {"nobody's home": "MATNET_HOME", "a full disk": "standard output: "}  # what cannot be used
    assert named.get(what, "") in done.stderr


def text_array(path: Path) -> None:
    np.savez(path, in__input=np.array(["a", "b"]))


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3)))


def damaged(path: Path) -> None:
    np.savez_compressed(path, in__input=np.arange(5000.0))
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(100)
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    """The flag of encryption set in both headers; the data do not matter."""
    np.savez(path, in__input=np.zeros(3))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("in__input.npy", b"no array")


def bomb(path: Path) -> None:
    """300 MB of zeros in 0.3 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("in__input.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (75_000_000,)})
        for _ in range(300):
            member.write(bytes(10**6))


def many(path: Path) -> None:
    np.savez(path, **{f"a{number}": np.zeros(1) for number in range(300)})


def pickled(path: Path) -> None:
    np.savez(path, in__input=np.array([{}], object))


def nested(path: Path) -> None:
    """A header that is no array's; numpy's error quotes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in__input.npy", b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000)


@pytest.mark.parametrize("make", [text_array, one_array, damaged, encrypted, packed, bomb, many, pickled, nested])
def test_arrays_that_cannot_be_used(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "in.npz")
    assert run_command(run.main, [str(MODEL), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 2
    said = capsys.readouterr().err
    assert "in.npz: " in said
    assert len(said) < 800
    assert "unsafely" not in said
    assert not (tmp_path / "out.npz").exists()


def test_what_numpy_makes_of_zeros_is_read(tmp_path: Path) -> None:
    """They take a thousandth of their size."""
    np.savez_compressed(tmp_path / "in.npz", in__input=np.zeros((2**24, 2), np.float32))
    assert (tmp_path / "in.npz").stat().st_size < 2**27 / 900
    assert read_arrays(tmp_path / "in.npz")["in__input"].shape == (2**24, 2)
