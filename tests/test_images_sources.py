"""Images from files, bytes, open files, Pillow and arrays; orientation; limits of size and of memory."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from matnet.errors import DataError, MatnetError, ShapeError
from matnet.images import Preprocessing, decode_uint8
from matnet.images.budget import Budget
from matnet.images.decode import opened, with_channels
from tests.image_inputs import PHOTO, RGB, saved

PREPARED = Preprocessing((5, 7), 3, mean=(1, 2, 3))
EXPECTED = (RGB.astype(np.float32) - np.float32([1, 2, 3])).transpose(2, 0, 1)


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "open file", "Pillow", "array", "float array"])
@pytest.mark.parametrize("method", ["load", "apply"])
def test_every_kind_of_image_gives_the_same_input(kind: str, method: str, tmp_path: Path) -> None:
    path = saved(Image.fromarray(RGB), tmp_path / "a.png")
    sources: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "open file": io.BytesIO(path.read_bytes()),
        "Pillow": Image.fromarray(RGB),
        "array": RGB,
        "float array": RGB.astype(np.float64),
    }
    np.testing.assert_array_equal(getattr(PREPARED, method)(sources[kind]), EXPECTED)


def test_an_image_of_pillows_is_left_as_it_was() -> None:
    image = Image.fromarray(RGB[:, :, 0]).convert("P")
    image.info["transparency"] = 0
    PREPARED.load(image)
    assert image.mode == "P"
    assert image.info == {"transparency": 0}


def test_an_image_of_pillows_with_whole_numbers_of_any_range_is_refused(tmp_path: Path) -> None:
    """Values of 0 to 255 would be high bytes of 0; a file of 16 bits states its range."""
    with pytest.raises(DataError, match="mode I"):
        PREPARED.load(Image.fromarray(RGB[:, :, 0].astype(np.int32)))
    words = (RGB[:, :, 0].astype(np.uint16) << 8).astype(">u2").tobytes()
    height, width = RGB.shape[:2]
    (tmp_path / "a.pgm").write_bytes(b"P5 %d %d 65535\n" % (width, height) + words)
    with Image.open(tmp_path / "a.pgm") as image:
        assert image.mode == "I"
        np.testing.assert_array_equal(PREPARED.load(image), PREPARED.load(RGB[:, :, 0]))


@pytest.mark.parametrize("wrong", [None, 3, {"a": 1}, [RGB], object()], ids=["None", "3", "dict", "list", "object"])
def test_what_is_no_image_is_refused_by_its_type(wrong: Any) -> None:
    with pytest.raises(DataError, match=type(wrong).__name__):
        PREPARED.load(wrong)


def test_a_file_open_as_text_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open(encoding="utf-8") as file, pytest.raises(DataError, match=r"a\.png: .*'rb'"):
        PREPARED.load(file)


@pytest.mark.parametrize(
    "array",
    [RGB.transpose(2, 0, 1), RGB[None], np.zeros((0, 5, 3)), RGB.astype(np.int64), RGB > 3, RGB * np.nan, RGB * 1j,
     RGB / 255, RGB / 127.5 - 1, RGB * 257.0],
    ids=["C x H x W", "N x H x W x C", "empty", "int64", "bool", "NaN", "complex", "0..1", "-1..1", "16 bit"],
)
def test_arrays_that_are_no_image_are_refused_without_their_numbers(array: np.ndarray) -> None:
    with pytest.raises(ShapeError) as error:
        PREPARED.apply(array)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
def test_exif_orientation_is_ignored_unless_asked_for(orientation: int, kind: str, tmp_path: Path) -> None:
    """Expected: how EXIF 2.3 defines each value, by numpy's flips and transpositions."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = PHOTO[:16, :24] // 128 * 255 if kind != "jpg" else np.full((16, 24, 3), (200, 30, 90), np.uint8)
    file = saved(
        Image.fromarray(stored), tmp_path / f"a.{kind}", exif=exif, **({"quality": 95} if kind == "jpg" else {})
    )
    plain = decode_uint8(file)
    assert plain.shape == (16, 24, 3)
    upright = {
        1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1], 5: plain.transpose(1, 0, 2),
        6: plain[::-1].transpose(1, 0, 2), 7: plain[::-1, ::-1].transpose(1, 0, 2), 8: plain.transpose(1, 0, 2)[::-1],
    }  # fmt: skip
    np.testing.assert_array_equal(decode_uint8(file, exif=True), upright[orientation])
    if kind != "jpg":
        np.testing.assert_array_equal(plain, stored)
    with opened(file) as image:
        assert image.info["orientation"] == orientation
    found = Preprocessing(upright[orientation].shape[:2], exif=True).load(file)
    np.testing.assert_array_equal(found, upright[orientation].transpose(2, 0, 1))


@pytest.mark.process
def test_the_limit_of_pixels_is_an_option() -> None:
    data = png_bytes(Image.new("L", (30, 20)))
    assert Preprocessing((20, 30), max_pixels=600).load(data).shape == (3, 20, 30)
    with pytest.raises(DataError, match="600 pixels; expected at most 599") as error:
        Preprocessing((20, 30), max_pixels=599).load(data)
    assert "max_pixels" in str(error.value)
    with pytest.raises(DataError, match="100,000,000 pixels"):
        PREPARED.load(Image.new("1", (10000, 10000)))


@pytest.mark.parametrize("size", [(0, 0), (0, 5)])
def test_images_without_pixels_and_files_without_bytes(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png"):
        PREPARED.load(tmp_path / "empty.png")
    with pytest.raises(MatnetError):
        PREPARED.load(Image.new("RGB", size))


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("RGB", 1), ("RGBA", 1), ("LA", 3), ("CMYK", 3), ("1", 1)])
def test_gray_for_rgb_networks_and_the_reverse(mode: str, channels: int) -> None:
    image = Image.fromarray(RGB).convert(mode)
    found = Preprocessing((5, 7), channels).load(image)
    gray = image.convert("L") if mode in ("L", "LA", "1") else image.convert("RGB")
    np.testing.assert_array_equal(found, Preprocessing((5, 7), channels).apply(np.asarray(gray)))
    assert found.shape == (channels, 5, 7)


def test_a_budget_is_shared_and_an_outsized_request_runs_alone() -> None:
    budget, most, inside, lock = Budget(100), [0], [0], threading.Lock()

    def work(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                inside[0] += amount
                most[0] = max(most[0], inside[0])
            time.sleep(0.005)
            with lock:
                inside[0] -= amount

    threads = [threading.Thread(target=work, args=(amount,)) for amount in (40, 50, 30, 250, 60, 20, 90, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert inside == [0]
    assert most[0] == 250  # 250 was never held beside anything else


def test_the_budget_is_given_back_when_an_image_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(1)
    monkeypatch.setattr(sys.modules["matnet.images.decode"], "DECODING", budget)
    whole = png_bytes(Image.fromarray(PHOTO))
    for _ in range(2):
        with pytest.raises(DataError):
            PREPARED.load(whole[: len(whole) // 2])
    assert PREPARED.load(whole).shape == (3, 5, 7)


@pytest.mark.process
def test_a_colour_image_becomes_gray_in_parts() -> None:
    """The same values as of the whole image at once, which would take 40 bytes for each pixel."""
    import tracemalloc

    pixels = np.random.default_rng(3).integers(0, 256, (1500, 1100, 3), np.uint8)
    at_once = np.floor(pixels @ np.array((0.298936021293775, 0.587043074451121, 0.114020904255103)) + 0.5)
    tracemalloc.start()
    gray = with_channels(pixels, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(gray[..., 0], at_once)
    assert gray.dtype == np.uint8
    assert peak < 1.5 * 40 * 2**18


def test_a_block_larger_than_the_memory_is_a_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads the blocks of a PNG file in one piece, of the size that the file states."""

    def read(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_end", read)
    with pytest.raises(DataError, match="free memory"):
        decode_uint8(png_bytes(Image.fromarray(RGB)))
