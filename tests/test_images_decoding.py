"""Decoding: files of every mode and depth become H x W x C pixels, and what is no image is named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matnet.errors import DataError, ShapeError
from matnet.images import decode, decode_uint8
from matnet.images.decode import with_channels
from tests.image_inputs import PHOTO, RGB, SIXTEEN, saved


def png(width: int, height: int, depth: int, color: int, data: bytes) -> bytes:
    """A PNG file of any bit depth and colour type, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_decode_gives_whole_numbers_as_float32(tmp_path: Path) -> None:
    pixels = decode(saved(Image.fromarray(RGB), tmp_path / "a.png"))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1", "L", "LA"])
def test_decode_of_other_modes(mode: str, tmp_path: Path) -> None:
    """Colours that every mode can hold (black, white, red ...) come back as they were; alpha is dropped."""
    gray = mode in ("1", "L", "LA")
    colors = [(0, 0, 0), (255, 255, 255)] if gray else [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    pixels = np.array([colors, colors[::-1]], dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(7)
    file = saved(image, tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    np.testing.assert_array_equal(decode_uint8(file), pixels)
    luma = np.where(pixels.any(axis=2, keepdims=True), decode_uint8(file, channels=1), 0)
    np.testing.assert_array_equal(decode_uint8(file, channels=1), luma)


def test_palette_with_transparency_is_looked_up_without_a_warning(tmp_path: Path, recwarn: object) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    file = saved(image, tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    np.testing.assert_array_equal(decode_uint8(file), [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])
    assert not list(recwarn)  # type: ignore[call-overload]


@pytest.mark.parametrize(("color", "samples"), [(0, 1), (2, 3)], ids=["gray", "rgb"])
def test_sixteen_bit_samples_keep_their_high_byte(color: int, samples: int, tmp_path: Path) -> None:
    words = (np.arange(2 * 3 * samples) * 2816).reshape(2, 3 * samples).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in words)
    (tmp_path / "a.png").write_bytes(png(3, 2, 16, color, data))
    expected = (words >> 8).reshape(2, 3, samples)
    np.testing.assert_array_equal(decode_uint8(tmp_path / "a.png", channels=samples), expected)
    np.testing.assert_array_equal(decode_uint8(tmp_path / "a.png"), np.broadcast_to(expected, (2, 3, 3)))


def test_jpeg_is_decoded_at_full_size_and_without_its_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees", which imread ignores
    file = saved(Image.fromarray(PHOTO[:64, :96]), tmp_path / "a.jpg", quality=90, exif=exif)
    np.testing.assert_array_equal(decode_uint8(file), np.asarray(Image.open(file)))
    assert decode(file).shape == (64, 96, 3)


def test_cmyk_jpeg_is_converted(tmp_path: Path) -> None:
    flat = Image.new("CMYK", (16, 8), (0, 255, 255, 0))
    pixels = decode(saved(flat, tmp_path / "a.jpg", quality=100))
    np.testing.assert_allclose(pixels, np.broadcast_to([255.0, 0, 0], (8, 16, 3)), atol=3)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), color) for color in ((255, 0, 0), (0, 255, 0))]
    file = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_uint8(file), np.broadcast_to([255, 0, 0], (2, 3, 3)))


@pytest.mark.parametrize(
    ("color", "luma"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((10, 200, 90), 131)],
)
def test_colour_becomes_gray_as_in_rgb2gray(color: tuple[int, int, int], luma: int) -> None:
    """Expected: 0.2989 R + 0.5870 G + 0.1140 B, rounded (MATLAB's rgb2gray of uint8), worked out by hand."""
    np.testing.assert_array_equal(with_channels(np.array([[color]], dtype=np.uint8), 1), [[[luma]]])


def test_gray_is_replicated_and_wrong_arrays_are_refused() -> None:
    np.testing.assert_array_equal(with_channels(SIXTEEN, 3), np.stack([SIXTEEN] * 3, axis=2))
    for shape, channels in [((4, 5, 2), 3), ((4, 5, 3), 4), ((0, 5, 3), 3), ((1, 4, 5, 3), 3)]:
        with pytest.raises(ShapeError, match="expected H x W"):
            with_channels(np.zeros(shape), channels)


@pytest.mark.process
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_cut_image_is_named(suffix: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO[:48, :64]).save(buffer, format={"jpg": "JPEG", "png": "PNG"}[suffix])
    whole = buffer.getvalue()
    file = tmp_path / f"cut.{suffix}"
    for cut in np.linspace(0, len(whole) * 0.97, 50, dtype=int):
        file.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=f"cut.{suffix}"):
            decode(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jpg", None, "no such image"),
        ("page.jpg", b"<!DOCTYPE html><html></html>", "unknown format"),
        ("noise.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot read the image"),
        ("large.png", png(9000, 9000, 8, 0, b""), "9000 x 9000 = 81,000,000 pixels"),
        ("bomb.png", png(60000, 60000, 8, 0, b""), "bomb.png"),
    ],
)
def test_what_is_no_image_is_named(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        decode(tmp_path / name)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        decode(tmp_path)


def test_no_program_in_an_image_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **options: pytest.fail("PostScript ran"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DataError, match=r"photo\.jpg.*PostScript"):
        decode(path)
