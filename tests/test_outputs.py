"""What may be written where: nothing that is read, nothing of another kind; links, devices, permissions, the umask."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import matnet
from matnet import convert, diff, kinds, run, show
from matnet import eval as evaluate
from matnet.benchmarks import definitions
from matnet.command_line import run_command
from matnet.doctor import __main__ as doctor
from matnet.errors import FileFormatError, MatnetError
from matnet.files import (
    atomic_path,
    atomic_write,
    check_folder,
    check_outputs,
    existing_file,
    make_folder,
    temporary_folder,
)
from matnet.formats.mat import write_mat
from matnet.kinds import (
    CAFFE_BLOB,
    CAFFEMODEL,
    DOT,
    EMPTY,
    HDF5,
    HTML,
    IMAGE,
    JSON,
    MAT,
    NPY,
    NPZ,
    ONNX,
    PROTOTXT,
    SVG,
    TEXT,
    UNKNOWN,
    ZIP,
    kind_of,
)
from matnet.reproduction import command as reproduce
from matnet.torch.package import _put, refuse_other_files
from tests.conftest import DATA

CAFFE = DATA / "caffe/net_alexnet"
MODEL = DATA / "matconvnet/sn_alexnet/model.mat"
IO = DATA / "matconvnet/sn_alexnet/io.npz"
ONE_PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


# -- kinds ------------------------------------------------------------------------------------------


def hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "text")


MADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (Path.touch, EMPTY),
    "v5": (lambda path: shutil.copy(MODEL, path), MAT),
    "v7.3": (lambda path: shutil.copy(DATA / "matconvnet/dag_file_v73/model.mat", path), MAT),
    "hdf5": (hdf5, HDF5),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(2)), NPZ),
    "npy": (lambda path: np.save(path.open("wb"), np.zeros(2)), NPY),
    "zip": (zipped, ZIP),
    "png": (lambda path: path.write_bytes(ONE_PIXEL), IMAGE),
    "onnx": (lambda path: matnet_onnx(path), ONNX),
    "v2 weights": (lambda path: shutil.copy(CAFFE / "weights.caffemodel", path), CAFFEMODEL),
    "v1 weights": (lambda path: shutil.copy(DATA / "caffe/v1_net_vgg/weights.caffemodel", path), CAFFEMODEL),
    "mean": (lambda path: mean_file(path), CAFFE_BLOB),
    "v0 prototxt": (lambda path: shutil.copy(DATA / "caffe/v0_net_padding/deploy.prototxt", path), PROTOTXT),
    "prototxt behind a comment": (lambda path: path.write_text("# { a comment\nlayers {\n}\n"), PROTOTXT),
    "prototxt in UTF-16": (lambda path: path.write_text('name: "x"\nlayer { }\n', "utf-16"), PROTOTXT),
    "json": (lambda path: path.write_text('{"a": 1}'), JSON),
    "svg": (lambda path: path.write_text('<?xml version="1.0"?><svg></svg>'), SVG),
    "page with a drawing": (lambda path: path.write_text("<!doctype html>\n<title>x</title><svg></svg>"), HTML),
    "dot": (lambda path: path.write_text("digraph net {\n}\n"), DOT),
    "words": (lambda path: path.write_text("n01440764 tench\n"), TEXT),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), UNKNOWN),
}


def matnet_onnx(path: Path) -> None:
    from matnet.formats.onnx import save_onnx

    save_onnx(matnet.load(MODEL), path)


def mean_file(path: Path) -> None:
    from tests.caffe_bytes import binaryproto

    path.write_bytes(binaryproto(np.ones((3, 4, 5), np.float32)))


@pytest.mark.parametrize("what", MADE)
def test_a_kind_goes_by_content(what: str, tmp_path: Path) -> None:
    make, kind = MADE[what]
    for name in ("file.mat", "file.caffemodel", "file"):
        path = tmp_path / name
        make(path)
        assert kind_of(path) == kind


# -- commands ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Caffe pair, a .mat, input arrays, an image, links; everything that may not change."""
    shutil.copy(CAFFE / "deploy.prototxt", tmp_path / "net.prototxt")
    shutil.copy(CAFFE / "weights.caffemodel", tmp_path / "net.caffemodel")
    shutil.copy(MODEL, tmp_path / "net.mat")
    shutil.copy(IO, tmp_path / "in.npz")
    (tmp_path / "photo.png").write_bytes(ONE_PIXEL)
    (tmp_path / "words.txt").write_text("a\nb\n")
    (tmp_path / "soft.mat").symlink_to("net.mat")
    os.link(tmp_path / "net.mat", tmp_path / "hard.mat")
    os.link(tmp_path / "in.npz", tmp_path / "hard.npz")
    (tmp_path / "classes.json").write_text('{"a": 1}')
    (tmp_path / "definitions.tar").write_text('{"a": 1}')
    write_mat(tmp_path / "experiment.mat", {"experiment": np.eye(3)})
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "model.py").write_text('"""x as a PyTorch module, written by matnet."""')
    (tmp_path / "package" / "labels.txt").write_text("a\nb\n")
    (tmp_path / "pair").mkdir()
    for name in ("net.prototxt", "net.caffemodel"):
        shutil.copy(tmp_path / name, tmp_path / "pair")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFUSED: dict[str, tuple[Callable[[list[str]], int], str, str]] = {
    "the weights as --out": (convert.main, "net.prototxt --caffemodel net.caffemodel --out net.caffemodel", "net.caf"),
    "the prototxt as --out": (convert.main, "net.prototxt net.caffemodel --out net.prototxt", "net.prototxt"),
    "an image as OUT": (convert.main, "net.prototxt net.caffemodel photo.png", "photo.png"),
    "arrays as OUT": (convert.main, "net.prototxt net.caffemodel in.npz", "in.npz"),
    "the labels as OUT": (convert.main, "net.prototxt net.caffemodel words.txt --labels words.txt", "words.txt"),
    "the same .mat": (convert.main, "net.mat net.mat", "net.mat"),
    "the same .mat through a link": (convert.main, "net.mat soft.mat", "soft.mat"),
    "the same .mat by another name": (convert.main, "net.mat hard.mat --format dagnn", "hard.mat"),
    "--to-onnx over its source": (convert.main, "net.mat --to-onnx soft.mat", "soft.mat"),
    "--to-onnx over weights": (convert.main, "net.mat --to-onnx net.caffemodel", "net.caffemodel"),
    "--to-caffe over its source": (convert.main, "--to-caffe net.mat --out-caffemodel hard.mat", "hard.mat"),
    "--to-caffe, one file twice": (
        convert.main,
        "--to-caffe net.mat --out-prototxt new --out-caffemodel ./new",
        "two outputs",
    ),
    "run over its input": (run.main, "net.mat in.npz in.npz", "in.npz"),
    "run over its input by another name": (run.main, "net.mat in.npz hard.npz", "hard.npz"),
    "run over its network": (run.main, "net.mat in.npz soft.mat", "soft.mat"),
    "a drawing over the network": (show.main, "net.mat --svg hard.mat", "hard.mat"),
    "a drawing over an image": (show.main, "net.mat --svg photo.png", "photo.png"),
    "a graph over a prototxt": (show.main, "net.mat --dot net.prototxt", "net.prototxt"),
    "two drawings in one file": (show.main, "net.mat --svg graph --dot graph", "graph"),
    "--to-caffe over its source in a folder": (convert.main, "pair --to-caffe pair/net", "pair/net.prototxt"),
    "--to-torch over its labels": (convert.main, "net.mat --labels package/labels.txt --to-torch package", "labels"),
    "the classes of eval": (evaluate.main, "net.mat --data . --classes classes.json --json classes.json", "classes"),
    "the data of eval": (evaluate.main, "net.mat --data . --json classes.json", "classes.json"),
    "doctor over data": (doctor.main, "net.mat . --write experiment.mat --input-size 9x9", "experiment.mat"),
    "reproduce over its pairs": (
        reproduce.main, "--models vgg-face --lfw . --pairs words.txt --csv words.txt", "words.txt"
    ),
    "definitions over their archive": (definitions.main, "definitions.tar --json definitions.tar", "definitions.tar"),
    "no such weights": (convert.main, "net.prototxt other.caffemodel", "other.caffemodel"),
    "two definitions": (convert.main, "net.prototxt net.prototxt", "net.prototxt"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_command_destroys_a_file(what: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, line, named = REFUSED[what]
    before = contents(files)
    assert run_command(main, line.split()) == 2  # type: ignore[arg-type]
    err = capsys.readouterr().err
    assert named in err
    assert "Traceback" not in err
    assert contents(files) == before


def test_eval_over_its_list_of_images(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from matnet.eval import main

    before = contents(files)
    line = ["--model", "net.mat", "--data", "words.txt", "--json", "words.txt"]
    assert run_command(main, line) == 2
    assert "words.txt" in capsys.readouterr().err
    assert contents(files) == before


def test_python_replaces_no_file_of_another_kind(files: Path) -> None:
    before = contents(files)
    net = matnet.load("net.mat")
    for name in ("net.caffemodel", "net.prototxt", "in.npz", "photo.png"):
        with pytest.raises(FileFormatError, match=re.escape(name)):
            net.save(name)
    with pytest.raises(FileFormatError, match=r"soft\.mat"):
        net.to_onnx("soft.mat")
    with pytest.raises(FileFormatError, match="name too long"):
        net.save(f"{'a' * 300}.mat")
    assert contents(files) == before


ORDERS = [
    "net.prototxt net.caffemodel new.mat",
    "net.caffemodel net.prototxt new.mat",
    "net.prototxt net.caffemodel --out new.mat",
    "net.prototxt --caffemodel net.caffemodel new.mat",
    "net.prototxt,net.caffemodel new.mat",
    "net.prototxt --names caffe net.caffemodel --format auto new.mat",
    "--remove-dropout --no-remove-dropout net.prototxt --mat-version 5 net.caffemodel new.mat",
]


@pytest.mark.process
@pytest.mark.parametrize("line", ORDERS)
def test_files_and_options_in_any_order(line: str, files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert run_command(convert.main, line.split()) == 0
    expected = tmp_path_factory.mktemp("expected") / "net.mat"
    matnet.save(matnet.convert_caffe(files / "net.prototxt", files / "net.caffemodel"), expected)
    assert (files / "new.mat").read_bytes() == expected.read_bytes()


@pytest.mark.process
def test_the_kind_of_an_input_goes_by_its_content(files: Path) -> None:
    os.rename("net.prototxt", "definition")
    os.rename("net.caffemodel", "weights.mat")
    assert run_command(convert.main, ["weights.mat", "definition", "new.mat"]) == 0
    assert matnet.load("new.mat").params


@pytest.mark.process
def test_a_mat_file_in_another_form(files: Path) -> None:
    assert run_command(convert.main, ["net.mat", "new.mat", "--format", "dagnn", "--version", "7.3"]) == 0
    assert b"MATLAB 7.3" in (files / "new.mat").read_bytes()[:128]
    assert matnet.load("new.mat").source.format == "dagnn"
    assert diff.main(["net.mat", "new.mat", "--no-meta"]) == 0


def test_an_option_of_caffe_for_a_mat_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(convert.main, ["net.mat", "new.mat", "--mean-values", "1,2,3"]) == 2
    assert "--mean-values" in capsys.readouterr().err
    assert not (files / "new.mat").exists()


@pytest.mark.process
def test_an_older_file_of_the_same_kind_is_replaced(files: Path) -> None:
    for _ in range(2):
        assert run_command(convert.main, ["net.prototxt", "net.caffemodel", "new.mat"]) == 0
        assert run_command(run.main, ["net.mat", "in.npz", "out.npz", "--layout", "hwcn"]) == 0
        assert run_command(show.main, ["net.mat", "--svg", "graph.svg", "--dot", "graph.dot"]) == 0
        assert run_command(show.main, ["net.mat", "--html", "graph.html"]) == 0
        assert run_command(convert.main, ["net.mat", "--to-onnx", "/dev/null"]) == 0
        assert run_command(convert.main, ["--to-caffe", "net.mat", "--out-prototxt", "p", "--out-caffemodel", "w"]) == 0


@pytest.mark.process
def test_options_between_the_files(files: Path) -> None:
    assert (
        run_command(run.main, ["net.mat", "--backend", "numpy", "in.npz", "--layout", "hwcn", "--all", "out.npz"]) == 0
    )
    assert len(np.load("out.npz").files) > 1


# -- writing ----------------------------------------------------------------------------------------


def write(path: Path | str, data: bytes = b"new") -> None:
    with atomic_write(path) as file:
        file.write(data)


def write_by_name(path: Path | str, data: bytes = b"new") -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_in_place(path: Path | str, data: bytes = b"new") -> None:
    """As HDF5 is written: the file that is there already is opened."""
    with atomic_path(path) as temporary, temporary.open("rb+") as file:
        file.write(data)


WRITERS = pytest.mark.parametrize("writer", [write, write_by_name, write_in_place])


@WRITERS
def test_a_link_stays_a_link(writer: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/real")
    (tmp_path / "to come").symlink_to("folder/new")
    for name, real in (("link", "real"), ("to come", "new")):
        writer(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (folder / real).read_bytes() == b"new"
    assert sorted(path.name for path in folder.iterdir()) == ["new", "real"]


@WRITERS
def test_both_names_of_a_file_show_what_was_written(writer: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"older and longer")
    os.link(tmp_path / "a", tmp_path / "b")
    writer(tmp_path / "a")
    assert (tmp_path / "b").read_bytes() == b"new"
    assert (tmp_path / "a").samefile(tmp_path / "b")
    assert len(list(tmp_path.iterdir())) == 2


@WRITERS
def test_a_read_only_file_stays(writer: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(FileFormatError, match="file: is read-only"):
        writer(path)
    assert path.read_bytes() == b"old"


def test_a_read_only_file_of_a_package_stays(files: Path) -> None:
    refuse_other_files(files / "package", [files / "net.mat"])
    (files / "package" / "model.py").chmod(0o444)
    with pytest.raises(FileFormatError, match=r"model\.py: is read-only"):
        refuse_other_files(files / "package")


@WRITERS
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_of_the_umask(
    writer: Callable[[Path], None], umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        writer(tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_the_umask_is_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change, however short, opens the files of other threads."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
    write(tmp_path / "file")
    write(tmp_path / "file")


@WRITERS
def test_permissions_of_an_older_file_stay(writer: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    writer(path)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@WRITERS
def test_a_fifo_is_written_to(writer: Callable[[Path], None], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()), daemon=True)
    reader.start()
    writer(fifo)
    reader.join(10)
    assert found == [b"new"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 1


@WRITERS
def test_a_device_stays_a_device(writer: Callable[[str], None]) -> None:
    writer("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@WRITERS
def test_an_open_descriptor_is_written_to(writer: Callable[[str], None], tmp_path: Path) -> None:
    """Also one of a regular file: what stands there stays, and the writing goes on at its place."""
    with (tmp_path / "file").open("wb") as file:
        file.write(b"before ")
        file.flush()
        writer(f"/dev/fd/{file.fileno()}")
        file.write(b" after")
    assert (tmp_path / "file").read_bytes() == b"before new after"


@pytest.mark.parametrize("name", ["/dev/fd/987", "/dev/full"])
def test_what_cannot_be_written_to_is_named(name: str) -> None:
    with pytest.raises(FileFormatError, match=name):
        write(name)


@pytest.mark.process
def test_json_goes_to_standard_output(tmp_path: Path) -> None:
    code = "import sys; from matnet.show import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code, str(MODEL), "--svg", "/dev/stdout"], stdout=out, check=True)
    text = (tmp_path / "out").read_text()
    assert text.startswith("<svg") or "<svg" in text[:200]
    assert "</svg>" in text
    assert "layer" in text.split("</svg>")[1]


@pytest.mark.process
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(MatnetError, match=r"net\.mat.*Permission denied"):
        matnet.save(matnet.load(MODEL), tmp_path / "net.mat")


@WRITERS
def test_a_name_of_as_many_bytes_as_a_name_may_have(writer: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / ("網" * 80 + ".mat")
    writer(path)
    assert path.read_bytes() == b"new"


@WRITERS
@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "loop"])
def test_a_name_that_no_file_can_have_is_refused_in_a_line(
    writer: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileFormatError, match=r"cannot be written"):
        writer(tmp_path / name)
    with pytest.raises(FileFormatError, match=r"cannot be written"):
        check_outputs([(tmp_path / name, MAT)])
    with pytest.raises(FileFormatError, match=r"cannot be read|no such"):
        existing_file(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_what_cannot_be_written_to_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that is closed, one that is open for reading alone, a folder that cannot be written."""
    with Path(MODEL).open("rb") as file:
        for number in (987, file.fileno()):
            with pytest.raises(FileFormatError, match=f"/dev/fd/{number}"):
                check_outputs([(f"/dev/fd/{number}", JSON)])
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not os.path.isdir(path) and access(path, mode))
    for check in (lambda: check_outputs([(tmp_path / "new", JSON)]), lambda: check_folder(tmp_path / "new")):
        with pytest.raises(FileFormatError, match=rf"new: .*{tmp_path.name} is read-only"):
            check()
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileFormatError, match=r"file is a file"):
        check_folder(tmp_path / "file" / "new")


def test_what_a_killed_process_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with temporary_folder(tmp_path / "package") as folder:
        left = tmp_path / folder.name.replace(f".{os.getpid()}.", f".{gone.pid}.")
    (left / "inside").mkdir(parents=True)
    with temporary_folder(tmp_path / "package") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_checked_through_links_that_lead_nowhere_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    with pytest.raises(FileFormatError, match="two outputs"):
        check_outputs([(tmp_path / "link", JSON), (tmp_path / "new", JSON)])
    with pytest.raises(FileFormatError, match="none"):
        check_outputs([(tmp_path / "none/new", JSON)])
    check_outputs([("/dev/null", JSON), ("/dev/null", TEXT), (None, MAT)], ["/dev/null"])


def test_folders_are_made_through_links_that_lead_nowhere_yet(tmp_path: Path) -> None:
    """Of drawings and plots, and of a PyTorch package, which is moved there as a whole."""
    for name in ("drawn", "package"):
        (tmp_path / name).symlink_to(f"{name} to come")
        check_folder(tmp_path / name)
    make_folder(tmp_path / "drawn")
    with temporary_folder(tmp_path / "package") as work:
        (work / "model.py").touch()
        assert _put(work, tmp_path / "package") == [tmp_path / "package" / "model.py"]
    for name in ("drawn", "package"):
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / f"{name} to come").is_dir()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.onnx", MAT), ("x.mat", ONNX), ("x.PNG", JSON),
     ("a.txt", MAT), ("a.json", MAT), ("a.npz", MAT), ("a.md", IMAGE)],
)
def test_a_name_that_promises_another_kind_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    promised = re.escape(kinds.SUFFIXES[name[1:].lower()])
    with pytest.raises(FileFormatError, match=rf"{name}(?=.*{re.escape(kind)}).*{promised}"):
        check_outputs([(tmp_path / name, kind)])
    check_outputs([(tmp_path / "x.anything", kind)])
    check_outputs([(tmp_path / "x.txt", kinds.JSON), (tmp_path / "none", kind)])


def test_a_conversion_writes_one_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two forms in one call were one form, without a word of the other."""
    from matnet.convert import main

    model = Path(matnet.__file__).parent / "models" / "digits-lenet" / "digits-lenet.mat"
    given = [str(model), "--to-onnx", str(tmp_path / "a.onnx"), "--to-torch", str(tmp_path / "b")]
    assert run_command(main, given) == 2
    assert "--to-onnx and --to-torch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".mat"])
def test_arrays_go_to_devices_and_fifos(suffix: str, tmp_path: Path) -> None:
    """Writers of archives go back in a file, and what a command replaces it reads first: neither works there."""
    from matnet import features

    digits = Path(matnet.__file__).parent / "models" / "digits-lenet"
    model, images = str(digits / "digits-lenet.mat"), str(digits / "test" / "3")
    null, fifo = tmp_path / f"null{suffix}", tmp_path / f"fifo{suffix}"
    null.symlink_to("/dev/null")
    os.mkfifo(fifo)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()), daemon=True)
    reader.start()
    for target in (null, fifo):
        assert run_command(features.main, [model, images, "--layer", "ip2", "--out", str(target)]) == 0
    if suffix in (".npz", ".mat"):
        assert run_command(run.main, [model, images, str(null)]) == 0
    reader.join(10)
    assert len(found[0]) > 400
    assert null.is_symlink()
    assert stat.S_ISFIFO(fifo.stat().st_mode)
