"""The schema of model cards: one check per field, which returns its error as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from matnet.errors import MatnetError, nearest

TASKS = ("classification", "segmentation", "detection", "faces", "edges", "retrieval", "hashing", "captioning")
FORMATS = ("simplenn", "dagnn")
DEFINITIONS = ("own", "copy", "inferred", "unknown")
ROLES = ("caffemodel", "prototxt", "mean", "labels", "other")
HASHES = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96}
METRICS = (
    "top1_error", "top5_error", "accuracy", "mean_iou", "pixel_accuracy", "mean_class_accuracy", "mean_ap",
    "mean_ap_11point", "ods", "ois", "meteor", "mean_absolute_error", "median_absolute_error", "images_per_s",
)  # fmt: skip
"""Figures in a card: in percent, except images/s, and absolute errors in the unit of their values."""

MOST_UNKNOWN = 20
"""The most unknown fields to list."""

Check = Callable[[Any], "str | None"]


# -- checks of one value: None if it is valid, else the error --------------------------------------


def text(value: Any) -> str | None:
    if isinstance(value, str) and value.strip():
        return None
    return f"is {_shown(value)}; expected text (in quotes, if it looks like a number)"


def texts(value: Any) -> str | None:
    if isinstance(value, list) and value and not any(text(item) for item in value):
        return None
    return f"is {_shown(value)}; expected a list of texts"


def one_of(allowed: tuple[str, ...]) -> Check:
    def check(value: Any) -> str | None:
        return None if value in allowed else f"is {_shown(value)}; expected one of {', '.join(allowed)}"

    return check


def whole(least: int, most: int) -> Check:
    def check(value: Any) -> str | None:
        well = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if well else f"is {_shown(value)}; expected an integer from {least:,} to {most:,}"

    return check


def url(value: Any) -> str | None:
    with suppress(ValueError):  # an invalid IPv6 address
        if isinstance(value, str) and urlsplit(value).scheme in ("http", "https") and urlsplit(value).netloc:
            return None
    return f"is {_shown(value)}; expected an http or https address"


def urls(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return f"is {_shown(value)}; expected a list of addresses"
    return next((f"holds one that {fault}" for fault in map(url, value) if fault), None)


def checksum(kind: str) -> Check:
    def check(value: Any) -> str | None:
        well = isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{HASHES[kind]}}}", value)
        return None if well else f"is {_shown(value)}; expected {HASHES[kind]} lower-case hexadecimal digits"

    return check


def file_name(value: Any) -> str | None:
    """A bare name, so that nothing is written outside its folder."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}", value):
        return None
    return f"is {_shown(value)}; expected a file name of letters, digits and ._+-, without a folder"


def member(value: Any) -> str | None:
    """A path inside an archive."""
    if isinstance(value, str) and value and not value.startswith("/") and ".." not in value.split("/"):
        return None
    return f"is {_shown(value)}; expected a path inside the archive"


def generations(value: Any) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"is {_shown(value)}; expected lines `2016-09-30: md5`"
    for when, digest in value.items():
        if not re.fullmatch(r"\d{4}-\d\d(-\d\d)?", str(when)):
            return f"has the generation {_shown(when)}; expected the date of publication, YYYY-MM or YYYY-MM-DD"
        if fault := checksum("md5")(digest):
            return f"of {when} {fault}"
    return None


def number(value: Any) -> str | None:
    well = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if well else f"is {_shown(value)}; expected a number"


def numbers(value: Any) -> str | None:
    well = isinstance(value, list) and value and not any(number(item) for item in value)
    return None if well else f"is {_shown(value)}; expected a list of numbers"


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"is {_shown(value)}; expected true or false"


def names_or_numbers(value: Any) -> str | None:
    return numbers(value) if isinstance(value, list) else file_name(value)


def input_sizes(value: Any) -> str | None:
    """`data: [3, 227, 227]`: channels, height and width of the default network."""
    if not isinstance(value, dict) or not value:
        return f"is {_shown(value)}; expected lines `input: [channels, height, width]`"
    for name, size in value.items():
        if not isinstance(size, list) or len(size) != 3 or any(whole(1, 1 << 20)(item) for item in size):
            return f"of {name!r} is {_shown(size)}; expected [channels, height, width]"
    return None


def conversion(value: Any) -> str | None:
    """Keywords of `convert_caffe`, checked by its own parser."""
    from matnet.converters.options import options_from

    if not isinstance(value, dict):
        return f"is {_shown(value)}; expected options of convert_caffe"
    try:
        options_from({str(key): item for key, item in value.items()})
    except MatnetError as error:
        return f"cannot be used: {error}"
    return None


def record(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """A check of a mapping with known fields; one text for all errors."""

    def check(value: Any) -> str | None:
        return "; ".join(faults_of(value, fields, required)) or None

    return check


def records(fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """A check of a list of such mappings."""

    def check(value: Any) -> str | None:
        if not isinstance(value, list) or not value:
            return f"is {_shown(value)}; expected a list"
        faults = [(index, fault) for index, item in enumerate(value, 1) for fault in faults_of(item, fields, required)]
        return "; ".join(f"entry {index}: {fault}" for index, fault in faults) or None

    return check


def faults_of(value: Any, fields: Mapping[str, Check], required: tuple[str, ...] = ()) -> Iterator[str]:
    """The errors in a mapping: unknown and missing fields, and invalid values; None counts as missing."""
    if not isinstance(value, dict):
        yield f"is {_shown(value)}; expected lines `field: value`"
        return
    for name in required:
        if value.get(name) is None:
            yield f"{name} is missing"
    unknown = [name for name in value if name not in fields]
    for name in unknown[:MOST_UNKNOWN]:
        yield f"unknown field {_shown(name)}{nearest(str(name)[:60], fields)}"
    if len(unknown) > MOST_UNKNOWN:
        yield f"{len(unknown) - MOST_UNKNOWN:,} more unknown fields"
    for name, item in value.items():
        if name not in fields:
            continue
        if item is not None and (fault := fields[name](item)):
            yield f"{name} {fault}"


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) < 60 else f"{shown[:56]}..."


# -- the fields -----------------------------------------------------------------------------------------

FILE_FIELDS: dict[str, Check] = {
    "role": one_of(ROLES),
    "common": text,
    "file": file_name,
    "urls": urls,
    "size": whole(1, 1 << 40),
    "member": member,
    **{kind: checksum(kind) for kind in HASHES},
}
ARCHIVE_FIELDS = {name: check for name, check in FILE_FIELDS.items() if name not in ("role", "common", "member")}
FILE_FIELDS["archive"] = record(ARCHIVE_FIELDS, ("file",))

PUBLISHED_FIELDS: dict[str, Check] = {
    "source": text,
    "data": text,
    "protocol": text,
    "tolerance": number,
    "unmeasured": text,
    **{metric: number for metric in METRICS},
}
PREPROCESSING_FIELDS: dict[str, Check] = {
    "image_size": numbers,
    "mean": names_or_numbers,
    "interpolation": one_of(("bilinear", "bicubic")),
    "keep_aspect": flag,
    "border": numbers,
}
LABEL_FIELDS: dict[str, Check] = {"count": whole(1, 1 << 24), "order": text, "names": texts}

CARD_FIELDS: dict[str, Check] = {
    # Caffe's model info
    "name": text,
    "caffemodel": file_name,
    "caffemodel_url": url,
    "license": text,
    "sha1": checksum("sha1"),
    "caffe_commit": text,
    "gist_id": text,
    # what it is
    "aliases": texts,
    "task": one_of(TASKS),
    "introduced": whole(1990, 2100),
    "page": url,
    "citation": texts,
    "evidence": texts,
    # the published .mat file
    "format": one_of(FORMATS),
    "mat": file_name,
    "mat_url": urls,
    "mat_size": whole(1, 1 << 40),
    "md5": generations,
    # the Caffe side
    "caffe_files": records(FILE_FIELDS),
    "definition": one_of(DEFINITIONS),
    "prototxt": file_name,
    "convert": conversion,
    # what it computes
    "inputs": input_sizes,
    "outputs": texts,
    "labels": record(LABEL_FIELDS),
    "preprocessing": record(PREPROCESSING_FIELDS),
    "parameters": whole(1, 1 << 40),
    "parameter_bytes": whole(4, 1 << 42),
    "layers": whole(1, 1 << 20),
    "published": records(PUBLISHED_FIELDS, ("source",)),
    "test_images": file_name,
}
REQUIRED = ("name", "license", "task", "format", "definition", "citation")
