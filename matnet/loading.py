"""`matnet.load`: load a network from files, a folder, bytes, or the name of a known model."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from matnet import keywords
from matnet.errors import DownloadError, FileFormatError, MatnetError, in_words, program
from matnet.foreign import refuse_foreign
from matnet.kinds import CAFFEMODEL, HDF5, MAT, PROTOTXT, kind_of
from matnet.network import Network

if TYPE_CHECKING:
    from matnet.zoo.cards import Card, RemoteFile
    from matnet.zoo.fetch import Fetcher

log = logging.getLogger(__name__)
PathLike = str | os.PathLike[str]
CAFFE_SUFFIXES = (".prototxt", ".caffemodel", ".h5")
CARD = "readme.md"


def load(
    source: PathLike | bytes | IO[bytes] | tuple[PathLike, PathLike],
    weights: PathLike | None = None,
    *,
    allow_unverified: bool = False,
    fetcher: Fetcher | None = None,
    **options: Any,
) -> Network:
    """Load a network.

    source: a MatConvNet .mat file, its bytes, or an open binary file; Caffe's prototxt and caffemodel (or .h5), as two
    arguments, a tuple, or "NET.prototxt,WEIGHTS.caffemodel", or either alone; the folder of a Caffe model with its
    readme.md; or the name of a known model (`matnet zoo list`), which is fetched if necessary. Existing paths take
    precedence over names. allow_unverified: also fetch models without a published checksum. fetcher: a
    `matnet.zoo.fetch.Fetcher` with mirrors or local files. options: as in `formats.load_network` for a .mat file,
    `convert_caffe` for Caffe files.

    A .mat file may hold a SimpleNN or DagNN of any MatConvNet version, as MAT v5, v7 or v7.3. Raises FileFormatError if
    the source is not a network, UnknownModelError with the nearest names, DownloadError with the manual steps, and the
    errors of the readers.
    """
    if isinstance(source, (tuple, list)) and len(source) == 2 and weights is None:
        source, weights = source
    if not isinstance(source, (str, os.PathLike)):
        return _from_content(source, options)
    if not os.fspath(source):
        raise FileFormatError("the path of the network is empty; expected a path or the name of a known model")
    text, path = os.fspath(source), Path(source)
    if weights is not None:
        return _caffe([path, Path(weights)], options)
    if path.is_dir():
        return _from_folder(path, options)
    if path.exists():
        return _from_file(path, options)
    parts = [Path(part.strip()) for part in text.split(",")]
    if len(parts) > 1 and all(part.suffix in CAFFE_SUFFIXES or part.is_file() for part in parts):
        return _caffe(parts, options)
    return _known_model(text, allow_unverified, fetcher, options)


def is_caffe(source: PathLike) -> bool:
    """Whether `load` would convert existing Caffe files for this source."""
    text, path = os.fspath(source), Path(source)
    if path.is_dir():
        return not any(path.glob("*.mat"))
    if path.is_file():
        kind = kind_of(path)
        return kind in (PROTOTXT, CAFFEMODEL) or (kind != MAT and path.suffix in CAFFE_SUFFIXES)
    return all(Path(part.strip()).suffix in CAFFE_SUFFIXES for part in text.split(","))


# -- files ------------------------------------------------------------------------------------------


def _from_file(path: Path, options: Mapping[str, Any]) -> Network:
    kind = kind_of(path) if path.is_file() else ""
    if kind in (PROTOTXT, CAFFEMODEL) or (kind == HDF5 and path.suffix in CAFFE_SUFFIXES):
        return _caffe([path], options)
    refuse_foreign(path)
    if kind != MAT and path.suffix in CAFFE_SUFFIXES:
        return _caffe([path], options)  # reports what is wrong with the file
    from matnet.formats import load_network

    return load_network(path, **_without_caffe_options(path, options))


def _caffe(files: list[Path], options: Mapping[str, Any]) -> Network:
    """A network from a prototxt, a caffemodel, or one of each, in any order."""
    from matnet.converters import convert_caffe

    definitions = [file for file in files if _is_definition(file)]
    weights = [file for file in files if file not in definitions]
    if len(definitions) > 1 or len(weights) > 1:
        named = ", ".join(map(str, files))
        raise FileFormatError(f"{named}: expected one prototxt, one caffemodel, or one of each")
    pair = (found[0] if found else None for found in (definitions, weights))
    return convert_caffe(*pair, **{"unknown": "keep", **_without_mat_options(files[0], options)})


def _without_mat_options(file: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `convert_caffe` among `options`. Raises FileFormatError for `name`."""
    if options.get("name") is not None:
        option = in_words("name=", "--net")
        raise FileFormatError(f"{file}: a Caffe model holds one network; {option} is only for .mat files")
    return {name: value for name, value in options.items() if name not in ("name", "mmap")}


OF_CAFFE = {"phase": "--phase", "level": "--level", "stages": "--stage"}
"""The options that select layers of a Caffe definition."""
OF_MAT = {"name": keywords.instance(str, "text").or_none(), "mmap": keywords.FLAG, "lenient": keywords.FLAG}
"""The keywords of `load_network`."""


def _without_caffe_options(file: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keywords of `load_network`. Raises FileFormatError for others, and for values of another type."""
    unknown = [name for name in options if name not in OF_MAT]
    if unknown:
        from matnet.converters.options import CHOICES, KINDS

        if unknown[0] in {*KINDS, *CHOICES}:
            option = in_words(unknown[0], OF_CAFFE.get(unknown[0], unknown[0]))
            raise FileFormatError(f"{file}: {option} is only for Caffe definitions; omit it for a .mat file")
    wrong = keywords.unknown(unknown, OF_MAT) + keywords.faults(options, OF_MAT)
    if wrong:
        raise FileFormatError(f"{file}: {'; '.join(wrong)}")
    return options


def _is_definition(file: Path) -> bool:
    try:
        kind = kind_of(file) if file.is_file() else ""
    except OSError:
        kind = ""
    return kind == PROTOTXT or (kind not in (CAFFEMODEL, HDF5) and file.suffix == ".prototxt")


def _from_content(source: Any, options: Mapping[str, Any]) -> Network:
    """A .mat file from its bytes or an open file, via a temporary file, because the readers map files."""
    import shutil
    import tempfile

    from matnet.formats import load_network

    given = getattr(source, "name", None)
    called = given if isinstance(given, str) else "the bytes given"
    if not isinstance(source, (bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise FileFormatError(
            f"cannot load a network from {type(source).__name__}; expected a path, bytes, an open binary file or a name"
        )
    with tempfile.TemporaryDirectory(prefix="matnet-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "network.mat")
        with file.open("wb") as target:
            if isinstance(source, (bytes, bytearray, memoryview)):
                target.write(source)
            else:
                try:
                    shutil.copyfileobj(source, target)
                except (TypeError, UnicodeDecodeError):
                    raise FileFormatError(f"{called}: is opened in text mode; open it with mode 'rb'") from None
        try:
            net = load_network(file, **_without_caffe_options(called, options))
        except MatnetError as error:
            raise type(error)(str(error).replace(str(file), called)) from None
    net.source.path = Path(given) if isinstance(given, str) else None
    net.source.files = (net.source.path,) if net.source.path is not None else ()
    return net


def _from_folder(folder: Path, options: Mapping[str, Any]) -> Network:
    """The model in a folder with a readme.md: its .mat file, or its Caffe files converted as stated in the card."""
    from matnet.zoo.cards import read_cards
    from matnet.zoo.front_matter import read_front_matter

    if not (folder / CARD).is_file():
        return _only_files(folder, options)
    try:
        cards = read_cards(folder)
    except FileFormatError as error:
        if any(folder.glob("*.prototxt")):  # the readme of a Caffe folder may not be a card
            if "errors in the card" in str(error) and "convert" in read_front_matter(folder / CARD)[0]:
                log.warning("the options of this card are not used: %s", error)
            return _only_files(folder, options)
        raise
    if len(cards) > 1:
        names = ", ".join(card.name for card in cards)
        raise FileFormatError(f"{folder}: holds {len(cards)} models; load one by name: {names}")
    card = cards[0]
    mat = folder / card.mat
    if card.mat and mat.is_file():
        return _from_file(mat, options)
    weights = card.file("caffemodel")
    beside = folder / weights.file if weights is not None else folder / card.caffemodel
    if card.prototxt is not None and beside.is_file():
        from matnet.converters import convert_caffe
        from matnet.zoo.convert_named import own_options
        from matnet.zoo.random_weights import FROM_FILES

        own = own_options(card, options)
        for name in FROM_FILES:
            if own.get(name) is not None:
                own[name] = folder / own[name]
        return _with_classes(convert_caffe(card.prototxt, beside, **own, **_without_mat_options(beside, options)), card)
    return _only_files(folder, options)


def _only_files(folder: Path, options: Mapping[str, Any]) -> Network:
    """The network in a folder that holds one .mat file, or one definition with its weights."""
    mats, definitions = sorted(folder.glob("*.mat")), sorted(folder.glob("*.prototxt"))
    weights = sorted([*folder.glob("*.caffemodel"), *folder.glob("*.caffemodel.h5")])
    deploy = [file for file in definitions if "deploy" in file.name]
    definitions = deploy if len(deploy) == 1 else definitions
    if len(definitions) == 1 and len(weights) == 1:
        return _caffe([definitions[0], weights[0]], options)
    if len(mats) == 1 and not weights:
        return _from_file(mats[0], options)
    found = ", ".join(file.name for file in [*mats, *definitions, *weights]) or "no network"
    raise FileFormatError(
        f"{folder}: the folder holds {found}; expected one prototxt and caffemodel, or one .mat file; name the files"
    )


# -- known models -----------------------------------------------------------------------------------


def _known_model(name: str, allow_unverified: bool, fetcher: Fetcher | None, options: Mapping[str, Any]) -> Network:
    """A zoo model: its .mat file, local or fetched, or its Caffe files converted."""
    from matnet.zoo.cache import present_mat
    from matnet.zoo.fetch import Fetcher
    from matnet.zoo.find import card_named

    card = card_named(name)
    present = present_mat(card)
    if present is not None:
        return _from_file(present, options)
    if card.mat_urls:
        if not card.md5:
            _refuse_unverified(card, [card.mat_file()], allow_unverified)
        return _from_file((fetcher or Fetcher()).mat(card), options)
    if card.prototxt is None or card.file("caffemodel") is None:
        random = in_words(f"matnet.zoo.random_network({card.name!r})", "`--random-weights`")
        raise FileFormatError(
            f"{card.mat}: no published weights are known"
            f"{f'; see {card.page}' if card.page else ''}; {random} builds the network without them"
            if card.prototxt
            else f"{card.mat}: no download address is known; see {card.page or 'its authors'}"
        )
    return _converted(card, allow_unverified, fetcher, options)


def _converted(card: Card, allow_unverified: bool, fetcher: Fetcher | None, options: Mapping[str, Any]) -> Network:
    from matnet.zoo.cache import present_file
    from matnet.zoo.convert_named import convert_card

    missing = [file for file in card.files if file.role == "caffemodel" and present_file(card, file) is None]
    _refuse_unverified(card, missing, allow_unverified)
    return _with_classes(convert_card(card, fetcher, _without_mat_options(Path(card.name), options)), card)


def _with_classes(net: Network, card: Card) -> Network:
    """Add ImageNet's class names in the order of the card, if the files have no class names."""
    from matnet.answers.classes import ORDERS, ilsvrc2012, write_classes
    from matnet.meta import class_names

    order = card.labels.get("order")
    if isinstance(order, str) and order in ORDERS.values() and class_names(net) is None:
        write_classes(net, ilsvrc2012(order, "the model's card"))
        net.source.notes.append(f"class names are in the order stated by the model's card: {order}")
    return net


def _refuse_unverified(card: Card, files: list[RemoteFile], allowed: bool) -> None:
    """Raise DownloadError if a file without a published checksum would be fetched."""
    from matnet.zoo.checks import strongest

    unknown = [file for file in files if strongest(file.hashes) is None]
    if unknown and not allowed:
        raise DownloadError(
            f"{card.name}: no published checksum of {', '.join(file.file for file in unknown)}, so the download cannot "
            f"be verified; {in_words('allow it with allow_unverified=True, or fetch it', 'fetch it')} with "
            f"`{program('zoo')} fetch {card.name}{'' if unknown[0].role == 'mat' else ' --what caffe'}`"
        )
