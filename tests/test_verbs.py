"""`matnet VERB ...`: one door to every command, which finds those that exist and hands the rest to their parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

import matnet
from matnet.__main__ import VERBS, main, module_of, usage, verbs
from matnet.arguments import joined_pairs
from matnet.command_line import run_command
from matnet.errors import EngineError
from tests.conftest import DATA
from tests.imports import HEAVY, is_command, modules

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_commands_are_listed_with_one_line_each(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    listed = re.findall(r"^  (\S+)  +\S", capsys.readouterr().out, re.MULTILINE)
    assert listed == list(verbs())
    assert {"show", "run", "eval", "convert", "diff", "zoo", "predict", "reproduce", "benchmarks"} <= set(listed)


def test_the_list_fits_a_terminal() -> None:
    assert max(map(len, usage().splitlines())) <= 80


def test_every_command_at_the_top_is_listed() -> None:
    tops = {name.split(".")[1] for name in filter(is_command, modules()) if re.fullmatch(r"matnet\.[a-z]+", name)}
    tops |= {name.split(".")[1] for name in modules() if re.fullmatch(r"matnet\.[a-z]+\.__main__", name)}
    assert tops <= set(VERBS)
    assert all(callable(import_module(module_of(verb) or "").main) for verb in verbs())


@pytest.mark.parametrize("gpus", [0, 2])
def test_the_version(gpus: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With the backends and the devices, or why there is no GPU."""
    from matnet.engines.cupy import probe

    def found(index: int) -> probe.Gpu:
        if index >= gpus:
            raise EngineError(f"there is no gpu:{index}")
        return probe.Gpu(index, f"Tesla {index}", (9, 0), 1, 13000, 13000)

    monkeypatch.setattr(probe, "find_gpu", found)
    assert main(["--version"]) == 0
    version, backends, devices = capsys.readouterr().out.splitlines()
    assert version == f"matnet {matnet.__version__}"
    assert backends.startswith("backends: numpy, onnx") and backends.endswith("cupy") is (gpus > 0)
    assert devices.startswith("devices: cpu (")
    assert devices.endswith("; gpu:0 (Tesla 0); gpu:1 (Tesla 1)" if gpus else "; there is no gpu:0")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("evl", "eval"), ("shwo", "show"), ("benchmark", "benchmarks"), ("--versoin", "--version")],
)
def test_an_unknown_command_names_the_nearest(
    wrong: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, [wrong]) == 2
    assert {wrong, right} <= set(re.findall(r"[a-z-]+", capsys.readouterr().err))


def test_the_rest_goes_to_the_commands_own_parser() -> None:
    shown = run("-m", "matnet", "eval", "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith("usage: matnet eval ")
    done = run("-m", "matnet", "eval", "digits-lenet", "--limit", "2", "--quiet")
    assert (done.returncode, "digits-lenet" in done.stdout) == (0, True), done.stderr
    assert run("-m", "matnet", "show", "nothing.mat").returncode == 2


def test_listing_loads_no_heavy_module() -> None:
    code = (
        "import sys; sys.argv = ['matnet']; from matnet.__main__ import script; script()\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = run("-c", code)
    assert "usage: matnet" in done.stdout
    assert not set(done.stderr.split()).intersection((*HEAVY, "numpy"))


def test_the_console_script_is_this() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.entry_points"]["console_scripts"].split() == ["matnet", "=", "matnet.__main__:script"]


def test_caffes_two_files_are_one_model_in_every_command(tmp_path: Path) -> None:
    """In either order, with a comma or a space between, and whatever they are called."""
    shutil.copy(DATA / "caffe/net_nin/deploy.prototxt", tmp_path / "net.txt")
    shutil.copy(DATA / "caffe/net_nin/weights.caffemodel", tmp_path / "weights.bin")
    net, weights = str(tmp_path / "net.txt"), str(tmp_path / "weights.bin")
    both = [f"{net},{weights}"]
    assert joined_pairs([net, weights]) == joined_pairs([weights, net]) == joined_pairs(both) == both
    assert joined_pairs(["a.mat", net, weights, "--json", "b"]) == ["a.mat", *both, "--json", "b"]
    assert joined_pairs([net, "none.caffemodel", net]) == [net, "none.caffemodel", net]
