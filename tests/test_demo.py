"""The server of `matnet demo` without a browser: what it answers, what it refuses, and what remains when it ends."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import matnet
from matnet.demo.folder import Folder, safe_name
from matnet.demo.guard import ENDED
from matnet.demo.images import stated
from matnet.demo.limits import DemoLimits
from matnet.demo.models import with_fields
from matnet.errors import DataError
from matnet.ops.convolution import Conv
from tests.demo_page import Served, served
from tests.helpers import chain
from tests.tiny_models import colour_detector

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits-lenet"
SEVEN = DIGITS / "test" / "7" / "0007.png"
MAT = DIGITS / "digits-lenet.mat"
PAIR = (DIGITS / "deploy.prototxt", DIGITS / "digits-lenet.caffemodel")
SMALL = DemoLimits(network=300_000, image=200_000)


@pytest.fixture(scope="module")
def page() -> Iterator[Served]:
    """A page that offers digits-lenet, with small limits."""
    with served(["digits-lenet"], SMALL, ["demo.example"]) as found:
        yield found


def content(path: Path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


def png(*shape: int) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)).save(written, "png")
    return written.getvalue()


# -- networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [(MAT,), PAIR, PAIR[::-1]], ids=["mat", "pair", "pair, the weights first"])
def test_a_dropped_network_is_described(page: Served, files: tuple[Path, ...]) -> None:
    found = page.drop(*map(content, files)).json()
    assert {"conv1", "conv2", "ip1"} <= {row[1] for row in found["rows"]}
    assert found["name"] == "digits-lenet"
    said = dict(map(tuple, found["summary"]))
    assert said["inputs"] and said["file"] in {path.name for path in files}
    assert found["steps"]["steps"] and found["findings"]
    assert str(page.page.folder.path) not in json.dumps(found)


def test_a_known_model_is_loaded_once_for_all(page: Served) -> None:
    first, second = (requests.post(f"{page.address}/api/models", json={"name": "digits-lenet"}) for _ in "ab")
    assert first.json()["id"] == second.json()["id"]
    assert page.page.models.named("digits-lenet") is page.page.models.named("digits-lenet")


def test_no_visitor_starts_a_download(home: Path, page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where downloads are allowed, a known model that is not on this machine is refused, and no path is read."""
    monkeypatch.delenv("MATNET_OFFLINE")
    for name in ("imagenet-vgg-f", str(MAT), "../models/digits-lenet", "https://example.org/a.mat"):
        answer = requests.post(f"{page.address}/api/models", json={"name": name})
        assert answer.status_code == 400 and name in answer.json()["error"]


def test_a_known_model_of_the_command_line_is_listed_once(page: Served) -> None:
    offered = page.get("/api/page").json()
    assert [given["name"] for given in offered["given"]] == ["digits-lenet"]
    assert offered["known"] == []


def test_the_drawing_is_the_page_of_show(page: Served) -> None:
    answer = page.get("/api/models/given-0/drawing")
    assert "<svg" in answer.text and 'id="search"' in answer.text
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.process
def test_filters_are_a_picture_and_layers_without_are_named(page: Served) -> None:
    assert page.get("/api/models/given-0/filters").content.startswith(b"\x89PNG")
    refused = page.get("/api/models/given-0/filters?layer=conv2")
    assert refused.status_code == 400 and "conv2" in refused.json()["error"]


@pytest.mark.parametrize("kind", ["mat", "onnx"])
def test_a_conversion_is_what_the_library_writes(page: Served, kind: str, tmp_path: Path) -> None:
    net = matnet.load("digits-lenet")
    own = net.save(tmp_path / "a.mat") if kind == "mat" else net.to_onnx(tmp_path / "a.onnx")[0]
    token = page.post(f"/api/models/given-0/convert/{kind}").json()["file"]
    answer = page.get(f"/api/files/{token}")
    assert answer.content == own.read_bytes()
    assert answer.headers["Content-Disposition"] == f'attachment; filename="digits-lenet.{kind}"'


def test_the_torch_folder_comes_as_an_archive_or_names_torch(page: Served) -> None:
    answer = page.post("/api/models/given-0/convert/torch")
    if find_spec("torch") is None:
        assert answer.status_code == 400 and "torch" in answer.json()["error"]
        return
    packed = page.get(f"/api/files/{answer.json()['file']}").content
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert {"digits-lenet/model.py", "digits-lenet/weights.safetensors"} <= set(names)


def test_a_network_that_was_closed_is_gone_with_its_files(page: Served) -> None:
    found = page.drop(content(MAT)).json()
    before = len(list(page.page.folder.path.iterdir()))
    assert page.post(f"/api/models/{found['id']}/close").status_code == 204
    assert len(list(page.page.folder.path.iterdir())) == before - 1
    assert page.get(f"/api/models/{found['id']}").status_code == 400


@pytest.mark.parametrize("name", ["digits-lenet", "network", "README", ".network"])
def test_a_file_without_an_ending_gives_its_sentence(page: Served, name: str) -> None:
    answer = page.drop((name, MAT.read_bytes()))
    assert answer.status_code in (200, 400), answer.text
    assert safe_name(name) in answer.text


def test_files_of_a_network_are_stated_once(page: Served) -> None:
    """A file that is stated twice, or that belongs to a network already, is refused, and stays as it is."""
    token = page.post("/api/files", MAT.read_bytes(), params={"name": "a.mat"}).json()["file"]
    ask = lambda *tokens: requests.post(f"{page.address}/api/models", json={"files": tokens})  # noqa: E731
    assert ask(token, token).status_code == 400
    opened = ask(token)
    assert opened.status_code == 200 and ask(token).status_code == 400
    assert page.post(f"/api/models/{opened.json()['id']}/images?name=a.png", SEVEN.read_bytes()).json()["top"]


def test_half_a_surrogate_pair_in_a_name_is_answered(page: Served) -> None:
    """UTF-8 has no bytes for it."""
    answer = page.post("/api/models", b'{"name": "\\ud800"}')
    assert answer.status_code == 400 and "\ud800" in answer.json()["error"]


# -- images -----------------------------------------------------------------------------------------


@pytest.mark.process
def test_an_image_gets_its_classes_and_pictures(page: Served) -> None:
    """The picture is of a 7, in the folder of that class."""
    found = page.post("/api/models/given-0/images?name=0007.png", SEVEN.read_bytes()).json()
    assert [found["top"][0]["class"], len(found["top"]), found["segments"]] == ["7", 5, False]
    for picture in ("steps", "maps?layer=conv1", "maps?layer=ip1"):
        assert page.get(f"/api/models/given-0/images/{found['image']}/{picture}").content.startswith(b"\x89PNG")
    refused = page.get(f"/api/models/given-0/images/{found['image']}/segmentation")
    assert refused.status_code == 400 and "digits-lenet" in refused.json()["error"]
    unknown = page.get(f"/api/models/given-0/images/{found['image']}/maps?layer=conv9")
    assert unknown.status_code == 400 and "conv9" in unknown.json()["error"]


def test_a_visitor_states_the_preprocessing(page: Served) -> None:
    send = lambda query: page.post(f"/api/models/given-0/images?name=a.png&{query}", SEVEN.read_bytes())  # noqa: E731
    assert any("subtract the mean (5)" in step for step in send("mean=5").json()["steps"])
    for wrong in ("size=2", "size=0x5", "mean=x", "mean=nan", "mean=1e999", "color=yuv"):
        assert send(wrong).status_code == 400, wrong
    assert "yuv" in send("color=yuv").json()["error"]
    assert "1000" in send("classes=ilsvrc12").json()["error"]  # this network has ten
    for path in (str(MAT), "labels.txt"):
        assert send(f"classes={path}").status_code == 400


def test_a_size_that_is_stated_is_bounded(page: Served) -> None:
    found = page.post("/api/models/given-0/images?name=a.png", SEVEN.read_bytes()).json()
    for picture in ("steps", "maps"):
        refused = page.get(f"/api/models/given-0/images/{found['image']}/{picture}?layer=conv1&size=3000x3000")
        assert refused.status_code == 400 and "3000x3000" in refused.json()["error"]


@pytest.mark.process
def test_a_segmentation_is_drawn_at_the_images_size(tmp_path: Path) -> None:
    """Pixels of one class each: 1 where red is the largest of three constant scores."""
    weights = np.zeros((1, 1, 3, 3), np.float32)
    weights[0, 0] = np.eye(3)
    net = chain((Conv(size=(1, 1, 3, 3)), [weights, np.zeros((1, 3), np.float32)]))
    net.meta["normalization"] = {"imageSize": np.array([[24.0, 36.0, 3.0]])}
    net.save(tmp_path / "pixels.mat")
    with served() as page:
        found = page.drop(content(tmp_path / "pixels.mat")).json()
        answer = page.post(f"/api/models/{found['id']}/images?name=a.png", png(20, 30, 3)).json()
        assert answer["segments"] is True
        picture = page.get(f"/api/models/{found['id']}/images/{answer['image']}/segmentation")
        assert picture.content.startswith(b"\x89PNG"), picture.text


@pytest.mark.process
def test_a_detector_lists_and_draws_its_objects(page: Served, tmp_path: Path) -> None:
    """A red object at 8 to 16, whose box by the rules of Faster R-CNN ends at 18 (test_predict_objects)."""
    pixels = np.zeros((24, 36, 3), np.uint8)
    pixels[8:16, 8:16, 0] = 200
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "png")
    model = page.drop(content(matnet.save(colour_detector(proposes=True), tmp_path / "own.mat"))).json()["id"]
    found = page.post(f"/api/models/{model}/images?name=a.png", written.getvalue()).json()
    assert found["detects"] and found["top"][0]["class"] == "aeroplane (8, 8 to 18, 18)", found
    answer = page.get(f"/api/models/{model}/images/{found['image']}/objects")
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (36, 24)
    assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 2
    plain = page.post("/api/models/given-0/images?name=a.png", SEVEN.read_bytes()).json()
    assert not plain["detects"]
    assert page.get(f"/api/models/given-0/images/{plain['image']}/objects").status_code == 400


def test_a_detector_that_takes_boxes_says_so(page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matnet.errors._running", [None])  # messages in the words of the command
    model = page.drop(content(matnet.save(colour_detector(), tmp_path / "fast.mat"))).json()["id"]
    found = page.post(f"/api/models/{model}/images?name=a.png", png(24, 36, 3)).json()
    assert "rois" in found["error"] and "--scores" not in found["error"] and not found["detects"]
    maps = page.get(f"/api/models/{model}/images/{found['image']}/maps?layer=cls")
    assert maps.status_code == 400 and "rois" in maps.json()["error"]


def test_an_option_without_a_field_is_named_with_its_command() -> None:
    for option in ("--scores", "--exif", "--net NAME", "--classes FILE"):
        assert f"predict {option}`" in with_fields(f"name it with {option}; see `matnet eval {option}`")
    assert with_fields("convert with --color-format rgb") == "convert with --color-format rgb"
    assert with_fields("--classes FILE, or a name with --scores").count("predict --") == 2


@pytest.mark.process
def test_several_visitors_share_one_engine(page: Served) -> None:
    """Answers at the same time are those of one after the other."""
    paths = sorted(DIGITS.glob("test/*/*.png"))[::40]
    expected = [one["top"][0]["class"] for one in matnet.load("digits-lenet").classify(paths).records()]
    found: dict[int, str] = {}

    def visit(number: int) -> None:
        answer = page.post("/api/models/given-0/images?name=a.png", paths[number].read_bytes())
        found[number] = answer.json()["top"][0]["class"]

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(paths))] == expected


# -- files of strangers -----------------------------------------------------------------------------


class Trap:
    """Would write a file where somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def damaged_mat() -> bytes:
    return MAT.read_bytes()[:20_000]


def bomb() -> bytes:
    """A MAT v7 variable of 2 GB in a few kilobytes, as its tag says."""
    size = 2_000_000_000
    packer = zlib.compressobj(9)
    inner = np.array([14, size], "<u4").tobytes()
    packed = packer.compress(inner + bytes(30_000_000)) + packer.flush()
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    return header + np.array([15, len(packed)], "<u4").tobytes() + packed


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("cut.mat", damaged_mat),
        ("bomb.mat", bomb),
        ("empty.mat", lambda: b""),
        ("noise.caffemodel", lambda: bytes(range(256)) * 40),
        ("image.mat", lambda: png(5, 7, 3)),
        ("deep.prototxt", lambda: b"layer {" * 20_000),
    ],
)
def test_a_broken_file_gives_its_sentence(page: Served, name: str, made: object) -> None:
    answer = page.drop((name, made()))  # type: ignore[operator]
    assert answer.status_code == 400
    assert name in answer.json()["error"] and str(page.page.folder.path) not in answer.text
    assert answer.json()["findings"]


@pytest.mark.parametrize("name", ["net.mat", "net.pkl", "net.caffemodel", "net.caffemodel.h5", "net.prototxt"])
def test_nothing_is_unpickled(page: Served, name: str, tmp_path: Path) -> None:
    answer = page.drop((name, pickle.dumps(Trap(tmp_path / "sprung"))))
    assert answer.status_code == 400 and name in answer.json()["error"]
    image = page.post("/api/models/given-0/images?name=a.png", pickle.dumps(Trap(tmp_path / "sprung")))
    assert "a.png" in image.json()["error"]
    assert not (tmp_path / "sprung").exists()


def test_weights_that_are_no_numbers_are_found_by_the_doctor(page: Served, tmp_path: Path) -> None:
    net = matnet.load("digits-lenet")
    net.params["conv1f"].value = np.full_like(net.params["conv1f"].value, np.nan)
    found = page.drop(content(net.save(tmp_path / "nan.mat"))).json()
    assert any(one["level"] == "problem" and "conv1" in one["what"] for one in found["findings"])
    answer = page.post(f"/api/models/{found['id']}/images?name=a.png", SEVEN.read_bytes()).json()
    assert answer["notes"] and None in {one["value"] for one in answer["top"]}


def test_a_definition_without_weights_is_shown_and_does_not_run(page: Served) -> None:
    found = page.drop(content(PAIR[0])).json()
    assert len(found["rows"]) > 5
    assert "caffemodel" in dict(map(tuple, found["summary"]))["weights"]
    answer = page.post(f"/api/models/{found['id']}/images?name=a.png", SEVEN.read_bytes()).json()
    assert "weights" in answer["error"] and not answer["top"]


def test_a_file_that_is_no_image_is_refused_without_pictures(page: Served) -> None:
    answer = page.post("/api/models/given-0/images?name=text.png", b"no image")
    assert answer.status_code == 400 and "text.png" in answer.json()["error"]


@pytest.mark.parametrize("mean", ["30,20,10", "30 20 10", "30, 20, 10", " (30,20,10) "])
def test_the_mean_takes_commas_and_blanks(mean: str) -> None:
    assert stated({"mean": mean}) == {"mean": [30, 20, 10]}


@pytest.mark.parametrize("mean", ["a", "1,2", "1 2 3 4", "inf", "nan", "1e300", "0,-1e39,0"])
def test_a_mean_that_is_none_is_refused(mean: str) -> None:
    with pytest.raises(DataError, match="the mean is"):
        stated({"mean": mean})


def test_what_is_missing_is_named_with_the_fields_of_the_page(
    page: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matnet.errors._running", [None])  # messages in the words of the command
    net = matnet.load(MAT)
    net.meta.clear()
    found = page.drop(content(net.save(tmp_path / "bare.mat"))).json()
    answer = page.post(f"/api/models/{found['id']}/images?name=a.png", SEVEN.read_bytes()).json()
    for text in (found["steps"]["error"], answer["error"]):
        assert "Input size" in text and "--" not in text
    assert "--input-size" not in json.dumps(found) and "--mean" not in json.dumps(found)


@pytest.mark.process
def test_an_upload_that_the_browser_ends_leaves_no_traceback(
    page: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    host, port = page.address.removeprefix("http://").split(":")
    for path in ("/api/models/given-0/images?name=a.png", "/api/files?name=a.mat"):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000\r\n\r\nabc".encode())
            time.sleep(0.2)
    assert page.get("/api/page").ok
    time.sleep(0.2)
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    assert not [record for record in caplog.records if record.exc_info]


def test_a_network_that_would_occupy_the_engine_is_shown_and_does_not_run(page: Served) -> None:
    """Its multiply-adds: 3 * 31^2 * 256 * 1370^2 = 1.4e12."""
    text = b"""layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 1400, 1400] } } }
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 256 kernel_size: 31 } }"""
    found = page.drop(("huge.prototxt", text)).json()
    answer = page.post(f"/api/models/{found['id']}/images?name=a.png", SEVEN.read_bytes())
    assert answer.status_code == 400 and "multiply-adds" in answer.json()["error"]


def test_a_definition_reads_no_file_of_the_server(page: Served, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("0007 SECRET 1\n")
    text = f"""layer {{ name: "data" type: "WindowData" top: "data" top: "label"
      window_data_param {{ source: "{secret}" batch_size: 1 crop_size: 9 mean_file: "{secret}" }}
      transform_param {{ mean_file: "{secret}" crop_size: 9 }} }}
    layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 2 }} }}"""
    assert "SECRET" not in page.drop(("spy.prototxt", text.encode())).text


def test_a_huge_image_is_refused_before_it_is_decoded(page: Served) -> None:
    header = bytearray(png(4, 4, 3))
    header[16:24] = np.array([60_000, 60_000], ">u4").tobytes()
    header[29:33] = np.array([zlib.crc32(header[12:29])], ">u4").tobytes()
    answer = page.post("/api/models/given-0/images?name=huge.png", bytes(header)).json()
    assert "huge.png" in answer["error"] and "top" not in answer


@pytest.mark.parametrize("name", ["../../up.mat", "/etc/passwd", "..\\a.mat", "a\0b.mat", "x" * 5000, "<b>.mat", ""])
def test_names_of_files_stay_inside_the_folder(page: Served, name: str) -> None:
    token = page.post("/api/files", b"abc", params={"name": name}).json()["file"]
    path = page.page.folder.file(token)
    assert path.parent == page.page.folder.path / token and len(path.name) <= 80
    assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name)


def test_the_ending_of_a_long_name_stays() -> None:
    assert safe_name("a" * 300 + ".caffemodel.h5").endswith(".caffemodel.h5")


# -- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "most"), [("/api/files", "network"), ("/api/models/given-0/images", "image")])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(page: Served, path: str, most: str) -> None:
    host = page.address.removeprefix("http://")
    with socket.create_connection(host.split(":"), timeout=20) as line:  # type: ignore[arg-type]
        size = SMALL.of(most) + 1
        head = f"Host: {host}\r\nContent-Length: {size}\r\nConnection: close"
        line.sendall(f"POST {path}?name=big HTTP/1.1\r\n{head}\r\n\r\n".encode())
        answer = line.makefile("rb").read().decode()
    assert " 413 " in answer.splitlines()[0] and "big" in answer


@pytest.mark.parametrize("path", ["/api/files?name=a.mat", "/api/models/given-0/images?name=a.png", "/api/models"])
def test_a_body_of_unstated_size_is_refused(page: Served, path: str) -> None:
    assert page.post(path, (b"x" for _ in range(3))).status_code == 413


@pytest.mark.process
def test_requests_that_stop_coming_are_ended(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is not whole, and bodies that stall: connections are closed, and no room stays reserved."""
    monkeypatch.setattr("matnet.demo.limits.STALLED", 0.5)
    monkeypatch.setattr("matnet.demo.app.STALLED", 0.5)
    host = page.address.removeprefix("http://")
    rest = f"Host: {host}\r\nContent-Length: 9000\r\n\r\nabc"
    before = len(page.page.folder._files)
    for head, status in (("GET / HTTP/1.1\r\nHost: a", ""), ("", ""),
                         (f"POST /api/files?name=a.mat HTTP/1.1\r\n{rest}", "408"),
                         (f"POST /api/models HTTP/1.1\r\n{rest}", "408"),
                         (f"POST /api/models/given-0/images?name=a HTTP/1.1\r\n{rest}", "408")):  # fmt: skip
        with socket.create_connection(host.split(":"), timeout=20) as line:  # type: ignore[arg-type]
            line.sendall(head.encode())
            answer = line.makefile("rb").read().decode()  # until the server closes
        assert answer[9:12] == status
    assert len(page.page.folder._files) == before and not page.page.folder._coming


@pytest.mark.process
def test_half_sent_requests_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are connections, some of which state bodies that would take all room."""
    monkeypatch.setattr("matnet.demo.limits.UNFINISHED", 8)
    monkeypatch.setattr("matnet.demo.server.CONNECTIONS", 16)
    with served([str(MAT)], SMALL) as page, ExitStack() as lines:
        host, port = page.address.removeprefix("http://").split(":")
        body = f"POST /api/files?name=a HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SMALL.network}\r\n\r\nabc"
        for place in range(40):
            line = lines.enter_context(socket.create_connection((host, port), timeout=20))
            line.sendall((body if place % 2 else "GET / HTTP/1.1\r\nHost: a").encode())
        assert page.get("/api/page").status_code == 200
        answer = page.drop(content(MAT))
        assert answer.status_code == 200, answer.text


def test_files_that_are_kept_are_bounded_and_the_oldest_go(page: Served) -> None:
    tokens = [page.post("/api/files", bytes(299_000), params={"name": "a"}).json()["file"] for _ in range(8)]
    folder = page.page.folder
    assert sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()) <= SMALL.kept
    assert page.get(f"/api/files/{tokens[0]}").status_code == 400
    assert page.get(f"/api/files/{tokens[-1]}").status_code == 200


@pytest.mark.process
def test_networks_that_are_kept_are_bounded(page: Served) -> None:
    ids = [page.drop(content(PAIR[0])).json()["id"] for _ in range(10)]
    assert [page.get(f"/api/models/{one}").status_code for one in (ids[0], ids[-1])] == [400, 200]


def test_the_files_of_a_network_are_not_for_download(page: Served) -> None:
    token = page.post("/api/files", MAT.read_bytes(), params={"name": "a.mat"}).json()["file"]
    requests.post(f"{page.address}/api/models", json={"files": [token]})
    assert page.get(f"/api/files/{token}").status_code == 404


def test_a_folder_whose_files_are_all_in_use_refuses_more() -> None:
    folder = Folder(100)
    try:
        token, path = folder.new("a")
        path.write_bytes(bytes(90))
        folder.finish(token)
        folder.keep([token])
        with pytest.raises(DataError):
            folder.new("b", 20)
        assert path.exists()
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    finally:
        folder.close()


# -- other sites, other names, other paths ------------------------------------------------------------


def test_other_names_of_this_machine_are_refused(page: Served) -> None:
    """A name that an attacker lets point at 127.0.0.1 arrives in the header Host."""
    for host, status in (("evil.example", 403), ("evil.example:80", 403), ("demo.example", 200),
                         ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("", 403),
                         ("127.0.0.1.evil.example", 403)):  # fmt: skip
        assert page.get("/api/page", headers={"Host": host}).status_code == status, host


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_posts_of_other_sites_are_refused(page: Served, headers: dict[str, str]) -> None:
    assert page.post("/api/files?name=a.mat", b"abc", headers=headers).status_code == 403
    own = {"Origin": page.address, "Sec-Fetch-Site": "same-origin"}
    assert page.post("/api/files?name=a.mat", b"abc", headers=own).status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/etc/passwd", "/static/app.py",
             "//etc/passwd", "/api/files/..%2f..%2fetc%2fpasswd", "/api/files/%00", "/api/models/x/drawing"]
)  # fmt: skip
def test_no_path_of_the_server_can_be_read(page: Served, path: str) -> None:
    host = page.address.removeprefix("http://")
    with socket.create_connection(host.split(":"), timeout=20) as line:  # type: ignore[arg-type]
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = line.makefile("rb").read().decode()
    assert re.match(r"HTTP/1.1 (400|404) ", answer) and "root:" not in answer and "Starlette" not in answer


def test_what_is_served_asks_no_other_host_for_anything(page: Served) -> None:
    for path in ("/", "/static/page.js", "/static/page.css", "/api/models/given-0/drawing"):
        answer = page.get(path)
        addresses = set(re.findall(r"(?:https?:)?//[A-Za-z0-9.-]+\.[a-z]+", answer.text))
        assert addresses <= {"http://www.w3.org"}, path  # the name of SVG's elements, which nobody loads
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page_policy = page.get("/").headers["Content-Security-Policy"]
    assert "connect-src 'self'" in page_policy and "unsafe" not in page_policy


# -- the command ------------------------------------------------------------------------------------


def started(*arguments: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
    places = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "MATNET_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "matnet.demo", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=places, cwd=folder)
    assert process.stderr is not None
    line = process.stderr.readline()
    return process, re.search(r"http://\S+:\d+", line)[0]  # type: ignore[index]


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_dropped_files_are_gone_when_the_command_ends(number: int, status: int, tmp_path: Path) -> None:
    process, address = started("digits-lenet", "--port", "0", folder=tmp_path)
    try:
        page = Served(address, None)
        assert page.drop(content(MAT)).status_code == 200
        assert list(tmp_path.glob("matnet-demo-*/*/.network/*/*.mat"))
        process.send_signal(number)
        assert process.wait(60) == status
        assert not list(tmp_path.glob("matnet-demo-*"))
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
    finally:
        process.kill()


@pytest.mark.process
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_ends_while_it_computes(number: int, status: int, tmp_path: Path) -> None:
    """The visitor who waits is answered that the page ends. The file that is imported lets an image take forever."""
    (tmp_path / "slow.py").write_text(
        "import time\nfrom matnet.demo import images\nimages.answers = lambda *given: time.sleep(10**6)\n"
    )
    process, address = started("--import", "slow.py", "digits-lenet", "--port", "0", folder=tmp_path)
    try:
        page = Served(address, None)
        ended: list[requests.Response] = []
        asking = threading.Thread(
            target=lambda: ended.append(page.post("/api/models/given-0/images?name=a", SEVEN.read_bytes()))
        )
        asking.start()
        asking.join(2)
        process.send_signal(number)
        assert process.wait(60) == status
        assert process.stderr is not None
        said = process.stderr.read()
        assert "Traceback" not in said and ("interrupted" in said) == (number == signal.SIGINT)
        assert not list(tmp_path.glob("matnet-demo-*"))
    finally:
        process.kill()
    asking.join()
    assert [(answer.status_code, answer.json()["error"]) for answer in ended] == [(503, ENDED)]


@pytest.mark.process
def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "matnet.demo", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 2 and port in done.stderr and "--port" in done.stderr
    assert not list(tmp_path.glob("matnet-demo-*"))


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from matnet.command_line import run_command
    from matnet.demo.__main__ import main

    monkeypatch.setitem(sys.modules, "starlette", None)
    assert run_command(main, ["--port", "0"]) == 2
    assert "matnet[demo]" in capsys.readouterr().err
