"""Decoding, resampling, cropping and preprocessing against tables worked out elsewhere."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from matnet.errors import DataError, ShapeError
from matnet.images import PROTOCOLS, Preprocessing, decode, decode_uint8, imresize
from matnet.images.crop import Box, centre_box, five_boxes, imreadjpeg_box, scale_factors, scaled_size
from matnet.images.decode import with_channels
from matnet.images.opencv import opencv_crop, opencv_resize, opencv_resize_float
from matnet.images.pillow import pillow_crop, pillow_resize
from matnet.images.resize import imreadjpeg_resample, imresize_crop

RGB = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PHOTO = np.random.default_rng(4).integers(0, 256, (256, 341, 3), dtype=np.uint8)
SIXTEEN = np.arange(16.0).reshape(4, 4)
EIGHT = np.array([[10.0, 20, 40, 80, 160, 200, 220, 250]])


def png(width: int, height: int, depth: int, color: int, data: bytes) -> bytes:
    """A PNG file of any bit depth and colour type, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


# --- decoding ---


def test_decode_gives_whole_numbers_as_float32(tmp_path: Path) -> None:
    pixels = decode(saved(Image.fromarray(RGB), tmp_path / "a.png"))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, RGB)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1", "L", "LA"])
def test_decode_of_other_modes(mode: str, tmp_path: Path) -> None:
    """Colours that every mode can hold (black, white, red ...) come back as they were; alpha is dropped."""
    gray = mode in ("1", "L", "LA")
    colors = (
        [(0, 0, 0), (255, 255, 255)] if gray else [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    )
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
        ("noise.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read as an image"),
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


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, matnet.images, matnet.datasets, matnet.metrics\nprint({'PIL', 'scipy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- imresize ---


@pytest.mark.parametrize(
    ("method", "antialias", "expected"),
    [
        ("bilinear", True, [[3.125, 4.875], [10.125, 11.875]]),
        ("bilinear", False, [[2.5, 4.5], [10.5, 12.5]]),
        ("bicubic", True, [[2.3046875, 4.3828125], [10.6171875, 12.6953125]]),
        ("bicubic", False, [[2.1875, 4.3125], [10.6875, 12.8125]]),
        ("box", True, [[2.5, 4.5], [10.5, 12.5]]),
    ],
)
def test_imresize_of_a_ramp(method: str, antialias: bool, expected: list[list[float]]) -> None:
    """Expected: MATLAB's imresize of rows 0..3, 4..7, 8..11, 12..15; a box is the mean of 2 x 2."""
    np.testing.assert_array_equal(imresize(SIXTEEN, (2, 2), method=method, antialias=antialias), expected)


@pytest.mark.parametrize(
    ("samples", "output", "method", "expected"),
    [
        (8, 4, "bicubic", [12.8125, 62.34375, 176.71875, 238.125]),
        (8, 4, "bilinear", [17.5, 67.5, 172.5, 232.5]),
        (8, 3, "bicubic", [16.314274, 119.191845, 231.978610]),
        (4, 8, "bicubic", [9.0625, 11.5625, 16.5625, 23.828125, 33.359375, 49.53125, 72.34375, 83.75]),
        (8, 4, "nearest", [20, 80, 200, 250]),
    ],
)
@pytest.mark.parametrize("upright", [False, True], ids=["row", "column"])
def test_imresize_of_a_line(
    samples: int, output: int, method: str, expected: list[float], upright: bool
) -> None:
    """Expected: MATLAB's imresize, with mirrored borders; nearest takes the later of two neighbours."""
    line = EIGHT[:, :samples].T if upright else EIGHT[:, :samples]
    found = imresize(line, (output, 1) if upright else (1, output), method=method)
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=5e-7)


def test_imresize_weights_of_factor_two() -> None:
    """Expected: (-3, -9, 29, 111, 111, 29, -9, -3) / 256, by convolution arithmetic on the cubic kernel."""
    impulses = np.eye(16)
    weights = imresize(impulses, (16, 8))[:, 3]
    np.testing.assert_array_equal(weights[3:11] * 256, [-3, -9, 29, 111, 111, 29, -9, -3])
    np.testing.assert_array_equal(weights[[0, 1, 2, 11, 12, 13, 14, 15]], 0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"scale": (1, 0.5)}, [1.5, 3.5, 5.0]), ({"size": (1, 3)}, [4 / 3, 3.0, 14 / 3])],
    ids=["scale", "size"],
)
def test_imresize_with_a_scale_keeps_it(arguments: dict[str, tuple[int, int]], expected: list[float]) -> None:
    """Half of 5 samples is 3 (ceil), centred at 2x - 0.5, the last between 5 and its mirror."""
    ramp = np.array([[1.0, 2, 3, 4, 5]])
    found = imresize(ramp, **arguments, method="bilinear", antialias=False)
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


def test_imresize_rounds_uint8_after_each_pass() -> None:
    """[0 1; 0 0] -> [0 0.5] -> [0 1] -> 0.5 -> 1 with rounding in between; the mean 0.25 would give 0."""
    assert imresize(np.array([[0, 1], [0, 0]], np.uint8), (1, 1), method="bilinear").tolist() == [[1]]
    step = np.array([[0, 0, 0, 255, 255, 255]], np.uint8)
    assert imresize(step, (1, 12)).max() == 255
    assert imresize(step.astype(np.float32), (1, 12)).max() > 255


@pytest.mark.parametrize(
    ("size", "first"),
    [((3, 4), "columns"), ((2, 7), "rows"), ((2, 3), "rows")],
)
def test_imresize_starts_with_the_smaller_scale(size: tuple[int, int], first: str) -> None:
    """Rounding in between tells the order: the same as two calls of one axis each (ties: rows first)."""
    rows, columns = (size[0], 7), (5, size[1])
    halfway = imresize(RGB, rows if first == "rows" else columns)
    np.testing.assert_array_equal(imresize(RGB, size), imresize(halfway, size))


@pytest.mark.parametrize(
    "method", ["box", "bilinear", "bicubic", "lanczos2", "lanczos3", "cubic", "triangle", "nearest"]
)
@pytest.mark.parametrize("size", [(3, 4), (11, 13), (5, 7)])
def test_every_method_keeps_a_flat_image(method: str, size: tuple[int, int]) -> None:
    flat = np.full((5, 7, 3), 93.0, np.float32)
    np.testing.assert_allclose(imresize(flat, size, method=method), np.full((*size, 3), 93.0), rtol=1e-6)
    found = imreadjpeg_resample(flat, Box(1, 2, 3, 4), size, method if method != "nearest" else "box")
    np.testing.assert_allclose(found, np.full((*size, 3), 93.0), rtol=1e-6)


@pytest.mark.parametrize("lobes", [2, 3])
def test_imresize_lanczos_at_a_quarter(lobes: int) -> None:
    """Doubling: sample 13 lies at 6.75, so samples 4..9 weigh sinc(x) sinc(x / lobes), x = 2.75 .. -2.25."""
    x = 6.75 - np.arange(4, 10)
    weights = np.where(np.abs(x) < lobes, np.sinc(x) * np.sinc(x / lobes), 0)
    found = imresize(np.eye(12), (12, 24), method=f"lanczos{lobes}")[:, 12]
    np.testing.assert_allclose(found[3:9], weights / weights.sum(), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": (2, 2), "method": "bicubik"}, DataError, "nearest: bicubic"),
        ({"size": (0, 2)}, ShapeError, "at least one pixel"),
        ({"size": (2, 2), "scale": 0.5}, ShapeError, "not both"),
        ({"scale": -1.0}, ShapeError, "must be positive"),
    ],
)
def test_imresize_refuses(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        imresize(SIXTEEN, **arguments)  # type: ignore[arg-type]


def test_only_pixels_are_resized() -> None:
    with pytest.raises(ShapeError, match="uint8, float32 or float64"):
        imresize(np.zeros((3, 4), np.int64), (2, 2))
    with pytest.raises(ShapeError, match="H x W"):
        imresize(np.zeros(4), (2, 2))


# --- vl_imreadjpeg ---


@pytest.mark.parametrize(
    ("image", "net", "keep_aspect", "expected"),
    [
        ((256, 341), 224, True, Box(16, 58, 224, 224)),
        ((256, 341), 227, True, Box(14, 57, 227, 227)),
        ((256, 341), 227, False, Box(14, 19, 227, 302)),
        ((375, 500), 224, True, Box(23, 86, 328, 328)),
        ((375, 500), 224, False, Box(23, 31, 328, 437)),
        ((500, 333), 224, True, Box(104, 21, 291, 291)),
    ],
)
def test_imreadjpeg_crops(image: tuple[int, int], net: int, keep_aspect: bool, expected: Box) -> None:
    """Expected: upstream's arithmetic in double precision; 437 is 437.4999999999999 rounded."""
    assert imreadjpeg_box(image, (net, net), (net / 256, net / 256), keep_aspect) == expected


def test_unequal_crop_fractions_keep_what_a_resize_and_a_crop_keep() -> None:
    """100x200 of an image resized to cover 132x232: the larger factor f counts, so 100/f by 200/f."""
    factor = max(132 / 256, 232 / 341)
    box = imreadjpeg_box((256, 341), (100, 200), (100 / 132, 200 / 232))
    assert (box.height, box.width) == (round(100 / factor), round(200 / factor))
    squashed = imreadjpeg_box((256, 341), (100, 200), (100 / 132, 200 / 232), keep_aspect=False)
    assert (squashed.height, squashed.width) == (round(256 * 100 / 132), round(341 * 200 / 232))


def test_imreadjpeg_repeats_the_border() -> None:
    """Expected: upstream's resampler on the 8 samples; only the first and last differ from imresize."""
    found = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 0, 1, 8), (1, 4))
    np.testing.assert_array_equal(found.ravel(), np.float32([13.515625, 62.34375, 176.71875, 236.484375]))


def test_imreadjpeg_reads_outside_the_crop() -> None:
    """A crop's samples equal those of the whole line: the crop's border is not the image's."""
    whole = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 0, 1, 8), (1, 4))
    crop = imreadjpeg_resample(EIGHT[:, :, np.newaxis], Box(0, 2, 1, 4), (1, 2))
    np.testing.assert_array_equal(crop, whole[:, 1:3])


def test_imreadjpeg_does_not_stop_at_a_zero_weight() -> None:
    """Shrinking by 3 puts taps exactly at the kernel's zeros; a straight line still gives its own centres."""
    line = np.arange(60.0)[np.newaxis, :, np.newaxis]
    found = imreadjpeg_resample(line, Box(0, 15, 1, 30), (1, 10))
    np.testing.assert_allclose(found.ravel(), 15 + 3 * np.arange(10) + 1, rtol=1e-5)


def test_imreadjpeg_is_imresize_away_from_the_border() -> None:
    found = imreadjpeg_resample(PHOTO, Box(0, 0, 256, 341), (150, 190))
    expected = imresize(PHOTO.astype(np.float64), (150, 190))
    np.testing.assert_allclose(found[6:-6, 6:-6], expected[6:-6, 6:-6], rtol=0, atol=2e-3)


# --- OpenCV and Pillow ---

OPENCV_IMAGE = np.array(
    [
        [139, 74, 229, 241, 169, 65, 6],
        [160, 149, 106, 38, 175, 188, 205],
        [175, 229, 98, 249, 10, 148, 95],
        [86, 147, 198, 66, 39, 106, 213],
        [171, 45, 167, 57, 69, 81, 55],
    ],
    dtype=np.uint8,
)[..., np.newaxis]


@pytest.mark.parametrize(
    ("source", "size", "expected"),
    [
        (OPENCV_IMAGE, (3, 4), [[128, 186, 171, 85], [195, 117, 40, 115], [119, 163, 59, 101]]),
        (
            OPENCV_IMAGE[:3, :4],
            (5, 6),
            [
                [139, 106, 100, 203, 235, 241],
                [147, 126, 116, 167, 170, 160],
                [160, 155, 142, 113, 72, 38],
                [169, 183, 181, 117, 133, 164],
                [175, 202, 207, 120, 173, 249],
            ],
        ),
    ],
    ids=["smaller", "larger"],
)
def test_opencv_bytes(source: np.ndarray, size: tuple[int, int], expected: list[list[int]]) -> None:
    """Expected: cv2.resize(..., INTER_LINEAR) of OpenCV 4.10."""
    np.testing.assert_array_equal(opencv_resize(source, size)[:, :, 0], expected)
    np.testing.assert_array_equal(opencv_resize(source.astype(np.float32), size)[:, :, 0], expected)


def test_opencv_floats() -> None:
    """Expected: cv2.resize of the float32 image, OpenCV 4.10 (first and second row)."""
    found = opencv_resize_float(OPENCV_IMAGE[:3, :4].astype(np.float32), (5, 6))[:2, :, 0]
    expected = [
        [139.0, 106.5, 99.83333587646484, 203.16665649414062, 235.0, 241.0],
        [147.39999389648438, 125.69999694824219, 116.63333129882812, 167.16665649414062, 169.8, 159.8],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_pillow_takes_height_before_width() -> None:
    """Half the size: the bilinear kernel is (1 3 3 1) / 8, cut off at the borders and divided by 7."""
    line = np.array([[[8], [16], [40], [64]]], dtype=np.uint8)
    expected = [[round((3 * 8 + 3 * 16 + 40) / 7), round((16 + 3 * 40 + 3 * 64) / 7)]]
    assert pillow_resize(line, (1, 2))[:, :, 0].tolist() == expected
    assert pillow_resize(RGB, (3, 4)).shape == (3, 4, 3)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "box", "lanczos3", "nearest"])
@pytest.mark.parametrize("image", [(375, 500), (500, 375), (90, 40), (256, 300), (40, 256), (256, 256)])
@pytest.mark.parametrize("size", [(256, 256), (64, 100), (101, 128)])
def test_a_part_of_what_pillow_resizes(image: tuple[int, int], size: tuple[int, int], method: str) -> None:
    """Expected: Pillow, one axis a call, in the order of release 13, then cut."""
    pixels = np.random.default_rng(8).integers(0, 256, (*image, 3), dtype=np.uint8)
    kernel = Image.Resampling.LANCZOS if method == "lanczos3" else Image.Resampling[method.upper()]
    fewer_rows, fewer_columns = image[0] - size[0], image[1] - size[1]
    rows_first = fewer_rows > max(0, 2 * fewer_columns)
    between = (image[1], size[0]) if rows_first else (size[1], image[0])
    whole = Image.fromarray(pixels).resize(between, kernel).resize((size[1], size[0]), kernel)
    if int(PIL.__version__.partition(".")[0]) >= 13:
        np.testing.assert_array_equal(whole, Image.fromarray(pixels).resize((size[1], size[0]), kernel))
    box = Box(size[0] // 9, size[1] // 7, size[0] // 2, size[1] - size[1] // 7)
    found = pillow_crop(Image.fromarray(pixels), size, box, method)
    np.testing.assert_array_equal(found, box.cut(np.asarray(whole)))


@pytest.mark.parametrize("size", [(256, 256), (40, 90), (61, 33)])
def test_opencv_itself(size: tuple[int, int]) -> None:
    """Expected: cv2.resize of whatever release is installed; and a part of it, where only that is wanted."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, with which this compares, is not installed")
    pixels = PHOTO[:77, :95]
    whole = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(opencv_resize(pixels, size), whole)
    box = Box(5, 2, size[0] - 9, size[1] - 3)
    np.testing.assert_array_equal(opencv_crop(pixels, size, box), box.cut(whole))


@pytest.mark.parametrize("scale", [(0.5, 0.8), (1.3, 0.7), (1.0, 0.4), (1.0, 1.0)])
def test_a_part_of_what_imresize_makes(scale: tuple[float, float]) -> None:
    whole = imresize(PHOTO[:60, :90].astype(np.float32), scale=scale)
    box = Box(3, 5, whole.shape[0] - 7, whole.shape[1] // 2)
    np.testing.assert_array_equal(imresize_crop(PHOTO[:60, :90], scale, box), box.cut(whole))


@pytest.mark.parametrize(("resizer", "method"), [(opencv_resize, "bicubic"), (pillow_resize, "lanczos2")])
def test_interpolations_that_a_resampler_lacks(resizer: object, method: str) -> None:
    with pytest.raises(DataError, match=method):
        resizer(RGB, (3, 4), method)  # type: ignore[operator]


# --- crops ---


@pytest.mark.parametrize(
    ("image", "target", "keep_aspect", "expected"),
    [
        ((375, 500), (256, 256), True, (256, 342)),
        ((500, 375), (256, 256), True, (342, 256)),
        ((375, 500), (256, 256), False, (256, 256)),
        ((100, 999), (256, 256), True, (256, 2558)),
    ],
)
def test_whole_image_sizes(
    image: tuple[int, int], target: tuple[int, int], keep_aspect: bool, expected: object
) -> None:
    """Expected: ceil(factor * length) as in cnn_imagenet_get_batch; the short side comes out whole."""
    assert scaled_size(image, scale_factors(image, target, keep_aspect)) == expected


def test_short_sides_never_exceed_the_target() -> None:
    sides = [scaled_size((side, side), scale_factors((side, side), (256, 256))) for side in range(100, 1000)]
    assert set(sides) == {(256, 256)}


def test_centre_box_rounds_its_offset_down_and_must_fit() -> None:
    assert centre_box((256, 341), (227, 224)) == Box(14, 58, 227, 224)
    with pytest.raises(ShapeError, match="227x227 does not fit in an image of 200x300"):
        centre_box((200, 300), (227, 227))


def test_five_boxes() -> None:
    """Top left, top right, bottom left, bottom right, centre, in pycaffe's order; 1.5 rounds down."""
    expected = [Box(0, 0, 3, 2), Box(0, 4, 3, 2), Box(3, 0, 3, 2), Box(3, 4, 3, 2), Box(1, 2, 3, 2)]
    assert five_boxes((6, 6), (3, 2)) == expected


# --- preprocessing ---


def meta(**fields: object) -> dict[str, object]:
    return {"normalization": {"imageSize": np.array([[24.0, 20, 3]]), **fields}}


COLOR = np.array([[123.68, 116.779, 103.939]])


@pytest.mark.parametrize(
    ("size", "expected", "channels"),
    [
        ([[24, 20]], (24, 20), 3),
        ([[24, 20, 3]], (24, 20), 3),
        ([[24], [20], [1]], (24, 20), 1),
        ([[24, 20, 3, 10]], (24, 20), 3),
        ([[24]], (24, 24), 3),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_image_size_in_every_shape(size: object, expected: object, channels: int, dtype: type) -> None:
    prepared = Preprocessing.from_meta(meta(imageSize=np.array(size, dtype)))
    assert (prepared.image_size, prepared.channels) == (expected, channels)


@pytest.mark.parametrize(
    "average",
    [COLOR, COLOR.T, COLOR.reshape(1, 1, 3), COLOR.astype(np.float32), COLOR.reshape(1, 1, 3, 1)],
    ids=["1x3", "3x1", "1x1x3", "single", "1x1x3x1"],
)
@pytest.mark.parametrize("field", ["averageImage", "rgbMean"])
def test_mean_colour_in_every_shape(average: np.ndarray, field: str) -> None:
    prepared = Preprocessing.from_meta(meta(**{field: average}))
    np.testing.assert_allclose(prepared.mean, COLOR[0], rtol=1e-6)


@pytest.mark.parametrize("absent", [np.zeros((0, 0)), "", None, []])
def test_an_empty_mean_is_none(absent: object) -> None:
    assert Preprocessing.from_meta(meta(averageImage=absent)).mean is None


def test_mean_of_one_number_and_of_gray_networks() -> None:
    np.testing.assert_array_equal(
        Preprocessing.from_meta(meta(averageImage=np.array([[7.0]]))).mean, [7, 7, 7]
    )
    gray = meta(imageSize=np.array([[4.0, 4, 1]]), averageImage=SIXTEEN)
    np.testing.assert_array_equal(Preprocessing.from_meta(gray).mean, SIXTEEN[..., np.newaxis])


def test_mean_image_is_resized_where_its_size_differs() -> None:
    """cnn_imagenet_evaluate: imresize (bicubic) of the single image, if the size is not right."""
    image = np.random.default_rng(5).uniform(90, 130, (24, 20, 3))
    np.testing.assert_array_equal(
        Preprocessing.from_meta(meta(averageImage=image)).mean, image.astype(np.float32)
    )
    larger = np.random.default_rng(5).uniform(90, 130, (32, 28, 3)).astype(np.float32)
    found = Preprocessing.from_meta(meta(averageImage=larger)).mean
    np.testing.assert_array_equal(found, imresize(larger, (24, 20)))


def test_caffe_cuts_the_centre_of_its_mean_image() -> None:
    """Caffe subtracts the whole mean image and then crops, so the crop's centre counts (offset 4 and 6)."""
    image = np.random.default_rng(5).uniform(90, 130, (32, 32, 3)).astype(np.float32)
    fields = meta(averageImage=image, border=np.array([[8.0, 12]]))
    found = Preprocessing.from_meta(fields, "caffe")
    np.testing.assert_array_equal(found.mean, image[4:28, 6:26])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (1.0, 1.0)),
        ({"cropSize": np.array([[0.875]])}, (0.875, 0.875)),
        ({"cropSize": np.array([[0.75, 0.5]])}, (0.75, 0.5)),
        ({"border": np.array([[8.0, 12]])}, (0.75, 0.625)),
        ({"border": np.array([[0.0, 0]])}, (1.0, 1.0)),
        ({"border": np.array([[8]], np.uint8)}, (0.75, 20 / 28)),
        ({"border": np.array([[8.0, 12]]), "cropSize": np.array([[0.9, 0.9]])}, (0.9, 0.9)),
    ],
)
def test_crop_fraction_from_crop_size_or_border(
    fields: dict[str, object], expected: tuple[float, float]
) -> None:
    """cropSize wins; without it imageSize ./ (imageSize + border), as vl_simplenn_tidy fills it in."""
    assert Preprocessing.from_meta(meta(**fields)).crop_fraction == pytest.approx(expected)


@pytest.mark.parametrize(
    ("protocol", "fields", "expected"),
    [
        ("meta", {}, ("vl_imreadjpeg", "bicubic", True, (1, 1))),
        (
            "meta",
            {"interpolation": "bilinear", "keepAspect": np.array([[False]])},
            ("vl_imreadjpeg", "bilinear", False, (1, 1)),
        ),
        ("meta", {"resize": "pillow"}, ("pillow", "bilinear", True, (1, 1))),
        (
            "published",
            {"interpolation": "bilinear", "cropSize": np.array([[0.5]])},
            ("vl_imreadjpeg", "bicubic", True, (24 / 256,) * 2),
        ),
        ("published-2016", {"interpolation": "bicubic"}, ("imresize", "bicubic", True, (24 / 256, 20 / 256))),
        ("legacy", {"border": np.array([[8.0, 12]])}, ("imresize", "bilinear", True, (0.75, 0.625))),
        ("legacy", {}, ("imresize", "bilinear", True, (24 / 53, 20 / 49))),
        ("caffe", {"interpolation": "bicubic"}, ("opencv", "bilinear", False, (1, 1))),
        ("caffe", {"resize": "pillow", "interpolation": "bicubic"}, ("pillow", "bicubic", False, (1, 1))),
    ],
)
def test_protocols(protocol: str, fields: dict[str, object], expected: tuple[object, ...]) -> None:
    """Expected: getImageBatch and cnn_imagenet_evaluate of both eras; Caffe's data layer."""
    found = Preprocessing.from_meta(meta(**fields), protocol)
    assert (found.resize, found.interpolation, found.keep_aspect) == expected[:3]
    assert found.crop_fraction == pytest.approx(expected[3])
    assert f"[{protocol}]" in found.describe()


def test_size_from_elsewhere_in_meta() -> None:
    sizes = {
        "inputs": {"name": "data", "size": np.array([[24.0, 20, 3, 10]])},
        "normalization": {"averageImage": COLOR},
    }
    assert Preprocessing.from_meta(sizes).image_size == (24, 20)
    single = {"inputSize": np.array([[125.0]]), "normalization": {"averageImage": COLOR}}
    assert Preprocessing.from_meta(single).image_size == (125, 125)
    image = {"normalization": {"averageImage": np.ones((6, 5, 3))}}
    assert Preprocessing.from_meta(image).image_size == (6, 5)


@pytest.mark.parametrize("nothing", [{}, None, {"normalization": np.zeros((0, 0))}])
def test_missing_normalization_says_what_to_pass(nothing: object) -> None:
    with pytest.raises(DataError, match=r"meta.normalization is missing.*pass image_size=\(height, width\)"):
        Preprocessing.from_meta(nothing)
    given = Preprocessing.from_meta(nothing, image_size=(24, 20), mean=(1, 2, 3))
    np.testing.assert_array_equal(given.mean, [1, 2, 3])


def test_all_unusable_fields_are_told_together() -> None:
    fields = meta(
        imageSize=np.array([[24.5, 20]]),
        averageImage=np.ones((4, 5, 2)),
        cropSize=np.array([[np.nan]]),
        keepAspect="yes",
        border=[np.ones((1, 2)), "both"],
        scale=np.array([[1.0, 2]]),
        interpolation=np.ones((2, 2)),
    )
    with pytest.raises(DataError) as error:
        Preprocessing.from_meta(fields)
    for name in ("imageSize", "averageImage", "cropSize", "keepAspect", "scale", "interpolation", "border"):
        assert f"  {name} " in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": (0, 5)}, "image_size is"),
        ({"image_size": (100000, 100000)}, "at most"),
        ({"channels": 4}, "takes 4 channels"),
        ({"mean": np.ones((5, 6, 3))}, "mean has shape"),
        ({"color": "grb"}, "colour order 'grb'"),
        ({"resize": "opencl"}, "known: vl_imreadjpeg, imresize, pillow, opencv"),
        ({"resize": "pillow", "crop_fraction": (1.1, 1.1)}, "crop_fraction"),
        ({"interpolation": "cubik"}, "nearest: cubic"),
    ],
)
def test_what_does_not_go_together(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Preprocessing(**{"image_size": (24, 20), **fields})  # type: ignore[arg-type]


def test_unknown_protocols_are_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="nearest: published"):
        Preprocessing.from_meta(meta(), "publisht")


@pytest.mark.parametrize("protocol", ["published", "published-2016"])
@pytest.mark.parametrize("net", [224, 227])
def test_shrunk_images_are_cropped_and_nothing_else(protocol: str, net: int) -> None:
    """On images of short side 256 both eras cut the centre at floor((dim - crop) / 2); pixels stay exact."""
    fields = meta(imageSize=np.array([[net, net, 3.0]]), averageImage=np.array([[10.0, 20, 30]]))
    top, left = (256 - net) // 2, (341 - net) // 2
    expected = PHOTO[top : top + net, left : left + net].astype(np.float32) - np.float32([10, 20, 30])
    found = Preprocessing.from_meta(fields, protocol).apply(PHOTO)
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_gives_the_input_size(protocol: str) -> None:
    prepared = Preprocessing.from_meta(meta(averageImage=COLOR, border=np.array([[8.0, 12]])), protocol)
    found = prepared.apply(PHOTO[:60, :90])
    assert (found.shape, found.dtype) == ((3, 24, 20), np.float32)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("resize", ["vl_imreadjpeg", "imresize", "pillow", "opencv", "opencv-float"])
def test_an_image_of_the_right_size_is_not_touched(resize: str) -> None:
    prepared = Preprocessing((5, 7), resize=resize, interpolation="bilinear", color="bgr", scale=0.5)
    before = RGB.copy()
    np.testing.assert_array_equal(prepared.apply(RGB), RGB.transpose(2, 0, 1)[::-1] * np.float32(0.5))
    fractions = RGB + np.float32(0.25)
    np.testing.assert_array_equal(prepared.apply(fractions), fractions.transpose(2, 0, 1)[::-1] * np.float32(0.5))
    np.testing.assert_array_equal(RGB, before)


def test_mean_stays_rgb_when_the_network_takes_bgr() -> None:
    prepared = Preprocessing((1, 1), mean=(1, 2, 3), color="bgr", scale=2)
    found = prepared.apply(np.array([[[10, 20, 30]]], np.float32))
    np.testing.assert_array_equal(found.ravel(), [2 * (30 - 3), 2 * (20 - 2), 2 * (10 - 1)])


def test_matnet_additions_are_read_from_meta() -> None:
    fields = meta(scale=np.array([[0.017]]), colorOrder="bgr", resize="opencv", border=np.array([[8.0, 12]]))
    found = Preprocessing.from_meta(fields)
    assert (found.scale, found.color, found.resize) == (0.017, "bgr", "opencv")
    assert (
        found.describe()
        == "24x20 BGR, opencv bilinear to 32x32 (aspect kept), centre crop, no mean, times 0.017 [meta]"
    )


def test_squashed_with_pillow_then_cropped() -> None:
    """SqueezeNet scored in Caffe: 256x256 by Pillow's bilinear, centre crop at 14, BGR minus means."""
    prepared = Preprocessing(
        (227, 227),
        mean=(123, 117, 104),
        color="bgr",
        resize="pillow",
        interpolation="bilinear",
        keep_aspect=False,
        crop_fraction=(227 / 256, 227 / 256),
    )
    image = np.random.default_rng(6).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR), np.float32)
    expected = (resized - np.float32([123, 117, 104]))[14:241, 14:241, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(prepared.apply(image), expected)


def test_load_writes_into_a_batch_and_names_the_file(tmp_path: Path) -> None:
    batch = np.zeros((2, 1, 4, 4), np.float32)
    file = saved(Image.fromarray(SIXTEEN.astype(np.uint8)), tmp_path / "a.png")
    Preprocessing((4, 4), channels=1).load(file, out=batch[1])
    np.testing.assert_array_equal(batch, np.stack([np.zeros((1, 4, 4)), SIXTEEN[np.newaxis]]))
    stripe = saved(Image.new("RGB", (1, 20000)), tmp_path / "stripe.png")
    with pytest.raises(DataError, match=r"stripe.png: an image of 20000x1 would have to be resized"):
        Preprocessing((256, 256), resize="imresize").load(stripe)
