"""Every option of every command, in each mode in which it cannot act, is refused by its name; nothing is written."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import matnet
from matnet.command_line import run_command
from matnet.reproduction.command import parser as reproduce_parser
from tests.helpers import assert_line

DIGITS = Path(matnet.__file__).parent / "models" / "digits-lenet"
PHOTO, TEST = str(DIGITS / "test" / "7" / "0007.png"), str(DIGITS / "test")
CAFFE = [str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits-lenet.caffemodel")]

FILE = [["--net", "a"], ["--phase", "TEST"], ["--level", "0"], ["--stage", "a"], ["--lenient"]]
OF_CAFFE = FILE[1:4]
ENGINE = [["--backend", "onnx"], ["--device", "cpu"], ["--precision", "fp32"], ["--threads", "1"],
          ["--runtime", "auto"]]  # fmt: skip
PREPARED = [["--protocol", "meta"], ["--channels", "1"], ["--mean", "0"], ["--std", "1"], ["--scale", "1"],
            ["--input-range", "0", "255"], ["--color", "rgb"], ["--resize", "pillow"], ["--ten-crop"], ["--exif"],
            ["--max-pixels", "9999"]]  # fmt: skip
CONVERSION = [["--full-image-size", "9x9"], ["--mean", "m.npy"], ["--mean-values", "1"], ["--mean-treatment", "crop"],
              ["--scale", "1"], ["--preprocessing", "squash"], ["--remove-dropout"], ["--remove-loss"],
              ["--append-softmax", "ip1"], ["--merge-batchnorm", "auto"], ["--simplify"], ["--extensions", "allow"],
              ["--names", "caffe"], ["--roi-base", "caffe"], ["--crop", "geometry"], ["--transpose"],
              ["--color-format", "bgr"]]  # fmt: skip
SIZED, NAMED = [["--input-size", "8x8"]], [["--labels", "l.txt"], ["--class-names", "a,b"]]
FETCHED = [["--mirror", "http://localhost/"], ["--from", "."]]
MAT_ONLY = [["--format", "auto"], ["--mat-version", "5"], ["--show-upgraded"]]
CAFFE_ONLY = [["--out-prototxt", "a"], ["--out-caffemodel", "a"]]
RANDOM, SEED = ["nin-cifar10", "--random-weights"], [["--seed", "1"]]
DETECTION = ["--task", "detection"]

MODES: dict[str, list[tuple[list[str], list[list[str]]]]] = {
    "predict": [
        (["net.mat", PHOTO], [["--color", "bgr"], *OF_CAFFE, *FILE[:1], ["--draw", "a"], ["--least-score", "0.5"]]),
        ([*CAFFE, PHOTO], FILE[:1]),
    ],
    "features": [(["net.mat", PHOTO, "--layer", "ip1", "--out", "f.npz"], [["--color", "bgr"], *OF_CAFFE, *FILE[:1]])],
    "run": [
        (["net.mat", "in.npz", "out.npz"], [*PREPARED, *SEED, *OF_CAFFE, *FILE[:1], *ENGINE[3:]]),
        (["net.mat", PHOTO, "out.npz"], [["--color", "bgr"], *SEED]),
        ([*RANDOM, "in.npz", "out.npz"], FILE),
    ],
    "show": [
        (["net.mat"], [*ENGINE, *SEED, *OF_CAFFE, ["--unfold"], ["--channels", "1"]]),
        (["net.mat", "--format", "csv"], [["--meta"], ["--plan"]]),
        (RANDOM, FILE),
    ],
    "diff": [(["net.mat", "net.mat"], OF_CAFFE), (["net.mat", "net.mat", "--json"], [["--all"]])],
    "eval": [
        (["net.mat", "--data", TEST, "--limit", "2"],
         [["--root", "."], ["--year", "2007"], ["--split", "val"], ["--proposals", "a"], ["--kind", "a"],
          ["--within", "2"], ["--sbd", "a"], ["--pairs", "a"], ["--face-crop", "0.6"], ["--save", "a"],
          ["--color", "bgr"], *SEED, *OF_CAFFE]),
        (["net.mat", "--data", TEST, *DETECTION],
         [["--ten-crop"], ["--batch-size", "2"], ["--pairs", "a"], ["--root", "."], ["--sbd", "a"]]),
        (["net.mat", "--data", TEST, "--task", "segmentation"],
         [["--resize", "pillow"], ["--batch-size", "2"], ["--protocol", "meta"], ["--proposals", "a"]]),
        (["net.mat", "--data", TEST, "--task", "faces"], [["--limit", "2"], ["--classes", "ilsvrc12"]]),
        ([*RANDOM, "--data", TEST], FILE),
    ],
    "doctor": [
        (["net.mat"], [*ENGINE, ["--root", "."], ["--classes", "ilsvrc12"], ["--limit", "3"], ["--try", "mean"],
                       ["--write", "x.mat"], ["--color", "bgr"], *PREPARED[7:]]),
        (["net.mat", TEST], [["--root", "."], ["--ten-crop"], ["--color", "bgr"]]),
        (["net.mat", TEST, "--labels", "l.txt"], [["--root", "."]]),
    ],
    "convert": [
        (["net.mat", "b.mat"], [*CONVERSION, *SIZED, *FETCHED, *SEED, *OF_CAFFE, *CAFFE_ONLY, ["--outputs", "ip1"],
                                ["--prototxt", CAFFE[0]], ["--caffemodel", CAFFE[1]], ["--show-upgraded"]]),
        (["net.mat", "--to-onnx", "b.onnx"],
         [*CONVERSION, *FETCHED, *SEED, *OF_CAFFE, *CAFFE_ONLY, *MAT_ONLY, ["--out", "b.mat"]]),
        (["net.mat", "--to-torch", "b"],
         [*CONVERSION, *FETCHED, *SEED, *OF_CAFFE, *CAFFE_ONLY, *MAT_ONLY, ["--out", "b.mat"]]),
        (["net.mat", "--to-caffe", "b"], [*CONVERSION[:-1], *FETCHED, *SEED, *MAT_ONLY, ["--outputs", "ip1"]]),
        ([*CAFFE, "b.mat"], [*FETCHED, *SEED, *CAFFE_ONLY, FILE[0], ["--outputs", "ip1"]]),
        ([*CAFFE, "--show-upgraded"], [*CONVERSION, *SIZED, *NAMED, *MAT_ONLY[:2]]),
        ([*RANDOM, "--out", "b.mat"], [*CONVERSION, *SIZED, *NAMED, *FETCHED, *FILE, ["--show-upgraded"]]),
        ([*RANDOM, "--to-onnx", "b.onnx"], [*CONVERSION, *NAMED, *FETCHED, *FILE, *MAT_ONLY]),
        (["digits-lenet", "b.mat"], [FILE[0], *SEED, *CAFFE_ONLY]),
        (RANDOM, [[CAFFE[0]], [CAFFE[1]]]),
    ],
    "reproduce": [
        (["--models", "digits-lenet"],
         [*SEED, ["--all"], ["--pairs", "a"], ["--face-crop", "0.6"], ["--sbd", "a"], ["--proposals", "a"]]),
        (["--random-weights"], [["--offline"]]),
        (["--resume"], [["--fresh"]]),
    ],
    "zoo": [(["check", "digits-lenet"], [["--seed", "1"], ["--backend", "numpy"]])],
}  # fmt: skip
"""By command: arguments, and the options, each with its value, that cannot act beside them."""

ALWAYS = {
    "all commands": "--help --import --debug --json --csv --quiet --input-size --batch-size --device --precision",
    "predict": "--top --scores --classes --lenient --backend --threads --runtime",
    "features": "--layer --pool --out --workers --scheduler --resume --lenient --backend --threads --runtime",
    "run": "--outputs --all --layout --random-weights --backend",
    "show": "--format --random-weights --svg --html --dot",
    "diff": "--net --net-b --tolerance --no-meta --lenient",
    "eval": "--model --scores --data --task --random-weights --strict --decoders --workers --scheduler --resume "
    "--backend --threads --runtime",
    "doctor": "--labels --scores --net --phase --level --stage --lenient",
    "convert": "--random-weights --to-caffe --to-onnx --to-torch --caffe-variant",
    "reproduce": "--models --random-weights --imagenet --voc --data --lfw --limit --protocol --ten-crop --backend "
    "--threads --runtime --strict --decoders --workers --scheduler --results --resume --check --markdown --plots",
    "zoo": "--task --what --mirror --from --allow-unverified --largest --forward --name",
}
"""The options that act in every mode, or that the file or the engine itself refuses."""


def command(verb: str) -> ModuleType:
    return importlib.import_module(f"matnet.{verb}.__main__" if verb in ("doctor", "zoo") else f"matnet.{verb}")


CASES = [(verb, base, option) for verb, modes in MODES.items() for base, idle in modes for option in idle]


@pytest.mark.parametrize(
    ("verb", "base", "option"), CASES, ids=[" ".join(map(str, [v, Path(b[0]).name, *b[1:], o[0]])) for v, b, o in CASES]
)
def test_an_option_that_cannot_act_is_refused_by_its_name(
    verb: str, base: list[str], option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.mat").write_bytes((DIGITS / "digits-lenet.mat").read_bytes())
    np.savez(tmp_path / "in.npz", in__data=np.zeros((1, 1, 8, 8), np.float32))
    (tmp_path / "l.txt").write_text("0\n")
    before = sorted(tmp_path.iterdir())
    assert run_command(command(verb).main, [*base, *option]) == 2
    said = capsys.readouterr()
    assert_line(said.err, option[0].removeprefix("--"))
    assert not said.out
    assert sorted(tmp_path.iterdir()) == before


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if action.option_strings:
            yield action
        elif isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from options_of(verb)


@pytest.mark.parametrize("verb", MODES)
def test_every_option_is_in_the_table(verb: str) -> None:
    """A new option has a mode in which it is tried here, or stands among those that always act."""
    parser = reproduce_parser() if verb == "reproduce" else command(verb).parser()
    tried = {option[0] for _, idle in MODES[verb] for option in idle}
    known = tried | set(ALWAYS["all commands"].split()) | set(ALWAYS[verb].split())
    shared = {option[0] for option in [*PREPARED, *FILE]}  # which preparation refuses for arrays, and loading for files
    new = [
        action.option_strings[0]
        for action in options_of(parser)
        if not {*action.option_strings, f"--no-{action.dest}"} & (known | shared) and action.help != argparse.SUPPRESS
    ]
    assert not new
