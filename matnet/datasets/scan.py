"""Scan folders for image files, class folders and text lists; hash lists of images."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matnet.errors import DataError, FileFormatError, in_words, listing
from matnet.files import IMAGE_ERRORS, existing_file
from matnet.kinds import EMPTY, HDF5, MAT, kind_of

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)

EXIF_ORIENTATION = 0x0112

LARGEST_LIST = 1 << 28
"""The largest list of images in bytes (ImageNet's 1.3 million lines take 50 MiB)."""


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """The sorted names of the image files and of the folders in `folder`, without hidden ones.

    The directory is read once, without a system call per file, so that 50,000 names take a few milliseconds.
    Raises DataError if the folder does not exist.
    """
    images, folders = [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if is_image(entry.name):
                    images.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder}: no such folder; check the path") from None
    return sorted(images), sorted(folders)


def is_image(name: str) -> bool:
    """Whether a file name has an extension of IMAGE_SUFFIXES."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def image_sizes(path: Path) -> list[tuple[int, int]]:
    """Height and width of an image, from the file's head: as stored, and as `--exif` turns it if its EXIF data say so.

    Raises DataError if it is no image.
    """
    from PIL import Image

    try:
        with Image.open(existing_file(path, "image")) as image:
            width, height = image.size
            # Without EXIF data, `getexif` would decode a PNG file.
            quarter_turn = "exif" in image.info and image.getexif().get(EXIF_ORIENTATION, 1) in range(5, 9)
            return [(height, width), (width, height)][: 1 + quarter_turn]
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except (*IMAGE_ERRORS, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from None


def require_size(path: Path, shape: Sequence[int], what: object) -> None:
    """Raise DataError, naming `what`, if an image's height and width are not `shape`, or it cannot be read."""
    (height, width), *_ = sizes = image_sizes(path)
    if tuple(shape) not in sizes:
        raise DataError(f"{what}: {shape[1]} x {shape[0]}, but its image is {width} x {height}")


def class_folders(root: Path) -> Iterator[Path]:
    """The folders in `root`, except hidden ones."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the class folders")
    return (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def images_below(folder: Path, unreadable: list[str] | None = None) -> Iterator[Path]:
    """Every image file in a folder and its subfolders, except hidden ones.

    The error of an unreadable folder (see `fault`) is added to `unreadable`; without this list, raises DataError.
    """

    def failed(error: OSError) -> None:
        if unreadable is None:
            raise DataError(fault(error)) from None
        unreadable.append(fault(error))

    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if is_image(name) and not name.startswith("."):
                yield Path(parent, name)


def fault(error: OSError) -> str:
    """Why a file or folder cannot be read: `PATH: reason`."""
    return f"{error.filename}: cannot be read ({error.strerror or error})"


def is_there(path: Path) -> bool:
    """Whether a file exists, or its folder cannot be searched; reading the file then reports the reason."""
    try:
        return path.is_file()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG


def require_files(root: Path, paths: Iterable[Path]) -> None:
    """Raise DataError that lists the files of a list that are missing."""
    lost = [path for path in paths if not is_there(path)]
    if lost:
        missing = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in lost]
        raise DataError(listing(f"{root}: files of the list that are missing ({len(missing)}):", missing))


def checked_images(
    file: Path, base: Path, paths: Sequence[Path], values: Sequence[object], what: str
) -> tuple[str, ...]:
    """A note on images that a list repeats. what: the name of their `values`, such as labels.

    Raises DataError that lists the missing images (paths are relative to `base`), or those with two values.
    """
    missing = [str(path) for path in paths if not is_there(path)]
    if missing:
        way_out = f"paths are relative to {base}; give another folder with {in_words('root=', '--root')}"
        raise DataError(listing(f"{file}: {len(missing)} of {len(paths)} images are missing; {way_out}", missing))
    first: dict[str, object] = {}
    clashes = []
    for path, value in zip(paths, values, strict=True):
        earlier = first.setdefault(os.path.normpath(path), value)
        if earlier != value:
            form = "{}: {:g} and {:g}" if isinstance(value, float) else "{}: {} and {}"
            clashes.append(form.format(path, earlier, value))
    if clashes:
        raise DataError(listing(f"{file}: images listed with two {what} ({len(clashes)}):", clashes))
    more = len(paths) - len(first)
    return (f"{file.name}: {more} of {len(paths)} lines repeat an image, which counts each time",) if more else ()


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def first_few(names: Sequence[str]) -> str:
    """The first five names as text."""
    return f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def mat_variables(path: str | os.PathLike[str], *names: str) -> Mapping[str, Any]:
    """The variables `names` of a MAT file, as far as it has them. Raises DataError for another kind of file."""
    from matnet.formats.mat import read_mat

    try:
        return read_mat(path, list(names))
    except FileFormatError as error:
        kind = kind_of(path) if Path(path).is_file() else MAT
        own = f"{path}: is {kind}; expected a MAT file with the variable {names[0]}"
        raise DataError(str(error) if kind in (EMPTY, MAT, HDF5) else own) from None


def text_lines(file: Path, what: str = "list of images", expected: str = "'path label'") -> list[tuple[int, str]]:
    """Line numbers and texts of a list file, without blank lines and comments. Raises DataError if there are none."""
    try:
        size = existing_file(file, what).stat().st_size
        if size > LARGEST_LIST:
            raise DataError(f"{file}: {size:,} bytes are too many for a {what}; expected lines {expected}")
        text = file.read_text(encoding="utf-8-sig")
    except FileFormatError as error:
        raise DataError(str(error)) from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not a text file; expected lines {expected}") from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{file}: no entries; expected lines {expected}")
    return lines


def digest(root: Path, paths: Iterable[Path], labels: Iterable[str]) -> str:
    """SHA-256 of the lines `path label`, with paths relative to `root`, so that it is independent of the location."""
    relative = (path.relative_to(root) if path.is_relative_to(root) else path for path in paths)
    return digest_lines(f"{path.as_posix()} {label}" for path, label in zip(relative, labels, strict=True))


def digest_lines(lines: Iterable[str]) -> str:
    """SHA-256 of lines of text, each with a line feed; names that are not UTF-8 keep their bytes."""
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()
