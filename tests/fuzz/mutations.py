"""Mutations that keep enough of a format's structure for a reader to get past the first bytes."""

from __future__ import annotations

import contextlib
import io
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, 1, 2, 3, 7, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
DOUBLES = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 0.5, 3.0, 1e300, 2.0**31, 2.0**53)
WORDS = (
    b"conv", b"relu", b"pool", b"lrn", b"normalize", b"spnorm", b"pdist", b"convt", b"bnorm", b"softmaxloss", b"custom",
    b"dagnn.Conv", b"dagnn.Sum", b"dagnn.Crop", b"dagnn.LRN", b"dagnn.Reshape", b"layers", b"params", b"name", b"type",
    b"\x1b[2J", b"../x", b"=1+1", b"\xff\xfe", b"", b"a" * 300,
)  # fmt: skip
TEXTS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\\", b"#", b"\n", b"-1", b"0", b"3", b"9", b"1e999", b"nan",
    b"99999999999999999999", b"2000000000", b"&a", b"*a", b"<<: *a", b"!!int x", b"Pooling", b"Eltwise", b"LRN", b"SPP",
    b"Deconvolution", b"bottom", b"top", b"pad: 99999", b"kernel_size: 0", b"operation: 9", b"pool: 3", b"axis: -9",
    b"\xff", b"\x00", b"\x1b[31m",
)  # fmt: skip


def of_bytes(words: Sequence[bytes] = ()) -> Mutation:
    """One to six changes of bits, bytes, runs and lengths, and of words where some are given."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            if not out:
                break
            at = rng.randrange(len(out)) if rng.random() < 0.6 else rng.randrange(min(len(out), 512))
            length = min(len(out) - at, rng.choice((1, 2, 4, 16, 200)))
            kind = rng.randrange(8)
            if kind == 0:
                out[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            elif kind == 2:
                del out[at : at + length]
            elif kind == 3:
                out[at:at] = out[at : at + length] * rng.choice((1, 2, 30))
            elif kind == 4:
                del out[at:]
            elif kind == 5:
                width = rng.choice("IQ")
                value = rng.choice((*NUMBERS, len(out))) % (1 << (32 if width == "I" else 64))
                packed = struct.pack(f"{rng.choice('<>')}{width}", value)
                out[at : at + len(packed)] = packed
            elif kind == 6 and words:
                out[at : at + rng.choice((0, length))] = rng.choice(words)
            else:
                other = rng.randrange(len(out))
                out[at], out[other] = out[other], out[at]
        return bytes(out)

    return mutate


@dataclass
class Element:
    """Of a MAT v5 file: a type of data, and its bytes or, for a matrix, its elements."""

    kind: int
    content: bytes | list[Element]


def of_mat5(data: bytes, rng: random.Random) -> bytes:
    """Changes of the elements of a MAT v5 file, in their tree: tags, classes, sizes, numbers, texts, whole subtrees."""
    root = _elements(data[128:])
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [(siblings, index) for siblings in _families(root) for index in range(len(siblings))]
        if not places:
            break
        siblings, index = rng.choice(places)
        element = siblings[index]
        choice = rng.randrange(12)
        if choice == 0:
            del siblings[index]
        elif choice == 1:
            siblings.insert(index, _copied(element))
        elif choice == 2:
            other, position = rng.choice(places)
            if position < len(other):
                siblings[index] = _copied(other[position])
        elif choice == 3:
            element.kind = rng.choice((1, 2, 4, 5, 6, 7, 9, 12, 14, 15, 16, 18, 255))
        elif choice == 4:
            siblings[index] = _nested(element, rng.choice((1, 2, 30, 1000)))
        elif choice <= 8 and (matrices := [inner for inner in _families(root) if _is_matrix(inner)]):
            _change_matrix(rng.choice(matrices), rng)
        elif isinstance(element.content, bytes) and element.content:
            element.content = _changed_leaf(element.kind, element.content, rng)
    body = _packed(root)
    if rng.random() < 0.3:
        body = _element(15, zlib.compress(body))
    return data[:128] + body


def _elements(body: bytes) -> list[Element]:
    """The tree of a file's bytes. A stack takes the place of recursion here and below: a file may nest for ever."""
    root: list[Element] = []
    pending = [(body, root)]
    while pending:
        body, found = pending.pop()
        at = 0
        while at + 8 <= len(body):
            kind, size = struct.unpack_from("<II", body, at)
            if kind >> 16:
                found.append(Element(kind & 0xFFFF, body[at + 4 : at + 4 + min(kind >> 16, 4)]))
                at += 8
                continue
            content = body[at + 8 : at + 8 + size]
            at += 8 + (size if kind == 15 else size + -size % 8)
            if kind == 15:
                body = body[:at] + zlib.decompress(content) + body[at:]
            elif kind == 14:
                inner: list[Element] = []
                found.append(Element(kind, inner))
                pending.append((content, inner))
            else:
                found.append(Element(kind, content))
    return root


def _families(elements: list[Element]) -> list[list[Element]]:
    """Every list of siblings of a tree."""
    found, pending = [], [elements]
    while pending:
        siblings = pending.pop()
        found.append(siblings)
        pending += [element.content for element in reversed(siblings) if isinstance(element.content, list)]
    return found


def _copied(element: Element) -> Element:
    """A copy that shares no list with the original: a tree that holds itself could not be written."""
    root: list[Element] = []
    pending = [([element], root)]
    while pending:
        originals, copies = pending.pop()
        for original in originals:
            copy = Element(original.kind, original.content)
            if isinstance(original.content, list):
                copy.content = []
                pending.append((original.content, copy.content))
            copies.append(copy)
    return root[0]


def _matrix(kind: int, shape: Sequence[int], *parts: Element) -> Element:
    head = Element(6, bytes([kind]) + bytes(7)), Element(5, struct.pack(f"<{len(shape)}i", *shape)), Element(1, b"")
    return Element(14, [*head, *parts])


def _nested(element: Element, depth: int) -> Element:
    """In cells within cells."""
    for _ in range(depth):
        element = _matrix(1, (1, 1), element)
    return element


def _is_matrix(elements: list[Element]) -> bool:
    """The flags, sizes, name and at least one more element of a matrix."""
    return len(elements) > 3 and all(isinstance(element.content, bytes) for element in elements[:3])


def _change_matrix(elements: list[Element], rng: random.Random) -> None:
    """Another class, other sizes, or another value that fits them: such files reach what reads the layers."""
    flags, shape, _, values = elements[:4]
    assert isinstance(flags.content, bytes)
    choice = rng.randrange(4)
    if choice == 0:
        flags.content = bytes([rng.choice((*range(19), 255)), rng.choice((0, 0, 2, 8, 255))]) + flags.content[2:]
    elif choice == 1:
        sizes = rng.choices((0, 1, 1, 2, 3, 10, 4097, 65_536, -1, 2**31 - 1), k=rng.choice((1, 2, 2, 4, 33)))
        shape.content = struct.pack(f"<{len(sizes)}i", *sizes)
    elif flags.content[:1] == b"\4" and isinstance(values.content, bytes):
        text = rng.choice(WORDS)
        shape.content, values.kind, values.content = struct.pack("<2i", min(len(text), 1), len(text)), 16, text
    elif flags.content and 6 <= flags.content[0] <= 15 and isinstance(values.content, bytes):
        numbers = rng.choices((*DOUBLES, 1.0, 2.0, 3.0), k=rng.choice((0, 1, 1, 2, 3, 4, 5)))
        flags.content = b"\6" + flags.content[1:]
        shape.content = struct.pack("<2i", *rng.choice(((1, len(numbers)), (len(numbers), 1))))
        values.kind, values.content = 9, struct.pack(f"<{len(numbers)}d", *numbers)


def _changed_leaf(kind: int, content: bytes, rng: random.Random) -> bytes:
    if kind == 9 and rng.random() < 0.7:
        return struct.pack("<d", rng.choice(DOUBLES)) * max(1, len(content) // 8)
    if kind in (5, 6) and rng.random() < 0.7:
        values = list(struct.unpack(f"<{len(content) // 4}I", content[: len(content) // 4 * 4]))
        if values:
            values[rng.randrange(len(values))] = rng.choice(NUMBERS) % (1 << 32)
        return struct.pack(f"<{len(values)}I", *values)
    if kind in (1, 2, 4, 16) and rng.random() < 0.7:
        return rng.choice(WORDS)
    return of_bytes(WORDS)(content, rng)


def _packed(elements: list[Element]) -> bytes:
    outer: list[tuple[int, Iterator[Element], list[bytes]]] = [(0, iter(elements), [])]
    while True:
        kind, rest, parts = outer[-1]
        for element in rest:
            if isinstance(element.content, list):
                outer.append((element.kind, iter(element.content), []))
                break
            parts.append(_element(element.kind, element.content))
        else:
            outer.pop()
            if not outer:
                return b"".join(parts)
            outer[-1][2].append(_element(kind, b"".join(parts)))


def _element(kind: int, content: bytes) -> bytes:
    pad = b"" if kind == 15 else bytes(-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + pad


TOKEN = re.compile(rb'"[^"\n]*"|[A-Za-z_]\w*|-?[\d.][\w.+-]*|\s+|.', re.DOTALL)


def of_text(words: Sequence[bytes]) -> Mutation:
    """Changes of the words, numbers, texts and blocks of a prototxt: exchanged, repeated, removed, nested."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        tokens = TOKEN.findall(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            if not tokens:
                break
            kind = rng.randrange(9)
            wanted = ("number", "number", "word", "text", "word")[kind % 5]
            matching = [at for at, token in enumerate(tokens) if _class_of(token) == wanted]
            at = rng.choice(matching or range(len(tokens)))
            if kind < 5:  # mostly another of its class, from the text itself
                others = [tokens[place] for place in matching] or words
                odd = [b"%d" % value for value in NUMBERS] if wanted == "number" else words
                tokens[at] = rng.choice(odd if rng.random() < (0.7 if wanted == "number" else 0.1) else others)
            elif kind < 8:
                start, end = _block(tokens, at)
                block = tokens[start:end]
                tokens[start:end] = rng.choice(([], block * 2, block * 40, tokens[rng.randrange(len(tokens)) :][:40]))
            else:
                name = rng.choice((b"layer", b"a", b"include"))
                depth = rng.choice((1, 20, 3000))
                tokens[at:at] = [(name + b" { ") * depth + b" }" * (depth - rng.choice((0, 0, 1)))]
        return b"".join(tokens)

    return mutate


def _class_of(token: bytes) -> str:
    first = token[:1]
    return (
        "text" if first == b'"' else "word" if first.isalpha() else "number" if first.isdigit() or first == b"-" else ""
    )


def _block(tokens: list[bytes], at: int) -> tuple[int, int]:
    """The innermost `name { ... }` around a place, with its name; the place itself where there is none."""
    depth, start = 0, at
    while start >= 0 and depth >= 0:
        depth += {b"}": 1, b"{": -1}.get(tokens[start], 0) if start != at or tokens[start] == b"{" else 0
        start -= depth >= 0
    if start < 0:
        return at, at + 1
    depth, end = 0, start
    while end < len(tokens):
        depth += {b"{": 1, b"}": -1}.get(tokens[end], 0)
        end += 1
        if not depth:
            break
    while start and _class_of(tokens[start]) != "word":
        start -= 1
    return start, end


def of_card(data: bytes, rng: random.Random) -> bytes:
    """Changes of a field of a card's front matter, at any depth: value, type, key, alias; or of its bytes."""
    import yaml

    head, _, rest = data.partition(b"\n---")
    if rng.random() < 0.2:
        return of_bytes(TEXTS)(data, rng)
    card = yaml.safe_load(head)
    for _ in range(rng.choice((1, 1, 2))):
        holder = card
        while True:
            places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not places:
                break
            place = rng.choice(places)
            if not isinstance(holder[place], (dict, list)) or rng.random() < 0.5:
                break
            holder = holder[place]
        if not places:
            continue
        kind = rng.randrange(16)
        if kind > 5:
            holder[place] = _alike(holder[place], rng)
        elif kind == 0:
            del holder[place]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice((*YAML_VALUES[:6], "weights", "files", "md5", "sha256"))] = holder.pop(place)
        elif kind == 2:
            holder[place] = [holder[place]] * rng.choice((1, 3, 300))  # written as aliases of one list or map
        elif kind == 3:
            holder[place] = {rng.choice(YAML_VALUES): holder[place]}
        else:
            holder[place] = rng.choice(YAML_VALUES)
    text = yaml.safe_dump(card, allow_unicode=True, sort_keys=False)
    return (
        b"---\n"
        + (_unquoted(text, rng) if rng.random() < 0.3 else text).encode("utf-8", "surrogateescape")
        + b"---"
        + rest
    )


YAML_VALUES = (
    "x", "", "1", "-1", "1e999", ".nan", "null", "true", "2014-01-01", "1:30:30", "0x10", "010", "9" * 30,
    "../../x", "/etc/passwd", "http://[", "https://x/y", "\x1b[2J", "=1+1", "imagenet-vgg-f", "simplenn", "dagnn",
    "ü" * 300,
)  # fmt: skip


def _alike(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind, so that what checks kinds lets most of them pass."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return rng.choice((1, 2, value + 1, value * 2, 1 << 19, 1999))
    if isinstance(value, dict):
        return dict(rng.sample(list(value.items()), rng.randint(1, len(value)) if value else 0))
    if isinstance(value, list):
        return rng.choice((value[:1], value + value[-1:], value * 40, rng.sample(value, len(value))))
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{32,64}", text):
        return text[::-1]
    if "://" in text:
        return rng.choice(("https://x/y", "http://x:80/y?z=1#a", f"{text}/%00", "https://[::1]/y", "http://ü.x/"))
    return rng.choice((text[:-1] or "x", text.upper(), text * 300, f"{text}\x1b[2J", f"={text}", "ü", "a\nb", " "))


def _unquoted(text: str, rng: random.Random) -> str:
    """YAML in which some texts lost their quotes, so that their type is what YAML makes of them."""
    return re.sub(r"'([^'\n]*)'", lambda found: found[1] if rng.random() < 0.5 else found[0], text)


LIST_WORDS = (
    b",", b"\t", b";", b"-1", b"+1", b"007", b"99999999", b"9" * 30, b"n01440764", b"n9", b"../x", b'"', b"'", b"#",
    b" # x", b"\xff", b"\xef\xbb\xbf", b"\r", b"\0", b"\x1b[2J", b"\\", b"a" * 5000, "\u0661".encode(),
)  # fmt: skip


def of_list(data: bytes, rng: random.Random) -> bytes:
    """Lines of a list exchanged, repeated and removed; their words changed for others of the list, or odd ones."""
    lines = [re.findall(rb"[\w./]+|\W", line) for line in data.split(b"\n")]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        line, other = lines[at], rng.choice(lines)
        kind = rng.randrange(7)
        if kind == 0:
            lines[at : at + 1] = rng.choice(([], [line] * 2, [line] * 300, [line, []], [[b"# "], line]))
        elif kind == 1:
            lines[at] = list(other)
        elif kind == 2 and line and other:
            line[rng.randrange(len(line))] = rng.choice(other)
        elif kind == 3 and line:
            line[-1] = rng.choice((b"0", b"1", b"2", b"5", b"007", b"+3"))
        elif kind == 4:
            line.append(rng.choice((b"\r", b" ", b"  # x", b"\t")))
        elif kind == 5:
            line.insert(rng.randrange(len(line) + 1), rng.choice(LIST_WORDS))
        elif line:
            line[rng.randrange(len(line))] = rng.choice(LIST_WORDS)
        if not lines:
            break
    return b"\n".join(b"".join(line) for line in lines)


def of_hdf5(data: bytes, rng: random.Random) -> bytes:
    """Changes of the objects of an HDF5 file: links, shapes, types, filters, attributes; or of its bytes."""
    import h5py

    if rng.random() < 0.4:
        return of_bytes(WORDS)(data, rng)
    stored = io.BytesIO(data)
    with h5py.File(stored, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 1, 2, 3))):
            with contextlib.suppress(KeyError, ValueError, RuntimeError, OSError):  # HDF5 itself refuses some changes
                _change_object(file, rng.choice(names), names, rng)
    return stored.getvalue()


def _change_object(file: Any, name: str, names: list[str], rng: random.Random) -> None:
    import h5py

    item, other, kind = file[name], rng.choice(names), rng.randrange(9)
    if kind <= 1:
        del file[name]
        if kind:
            links = [h5py.SoftLink("/" + other), h5py.ExternalLink("x.h5", "/"), h5py.SoftLink("/" + name)]
            file[name] = rng.choice(links)
    elif kind == 2:
        target = file[other]
        del file[name]
        file[name] = target
    elif kind == 3 and isinstance(item, h5py.Group):
        item[rng.choice(("loop", "value", "name"))] = file[rng.choice((name, "/"))]  # a group in itself
    elif kind <= 5:
        _change_attribute(item, rng)
    elif isinstance(item, h5py.Dataset):
        _replace_values(file, name, rng)


def _replace_values(file: Any, name: str, rng: random.Random) -> None:
    """A data set of another shape and type, with the attributes of the old one."""
    import h5py
    import numpy as np

    attributes = dict(file[name].attrs)
    del file[name]
    shape = tuple(rng.choices((0, 1, 1, 2, 3, 7), k=rng.choice((0, 1, 2, 2, 3, 4))))
    if rng.random() < 0.2:
        made = file.create_dataset(name, shape, rng.choice((h5py.ref_dtype, h5py.string_dtype())))
    else:
        dtype = rng.choice(("f4", "f8", "u2", "i8", "u1", "S3", "c8", "bool"))
        values = np.full(shape, rng.choice((0, 1, 3, 88)), dtype)
        packed = rng.random() < 0.5 and values.size and values.ndim
        made = file.create_dataset(name, data=values, compression="gzip" if packed else None)
    for key, value in attributes.items():
        made.attrs[key] = value


def of_zip(data: bytes, rng: random.Random) -> bytes:
    """Changes of one member of a zip file, stored anew with a checksum that fits; or of the bytes of the file."""
    if rng.random() < 0.3:
        return of_bytes()(data, rng)
    inner = of_bytes((b"(", b"'<f8'", b"'|O'", b"True", b"10000000000", b"../x", b"-1"))
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(written, "w") as new:
        names = old.namelist()
        changed = rng.choice(names)
        for name in names:
            content = old.read(name)
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            odd = rng.choice(("../x", "/x", "a/" * 300, "a.npy", "top/a.txt", name, name, name))
            new_name = odd if name == changed else name
            member = zipfile.ZipInfo(new_name)
            member.compress_type = method
            if rng.random() < 0.05:
                member.external_attr = 0o120777 << 16  # a symbolic link
            new.writestr(member, inner(content, rng) if name == changed else content)
    return written.getvalue()


def _change_attribute(item: Any, rng: random.Random) -> None:
    import numpy as np

    classes = (
        b"double", b"single", b"cell", b"struct", b"char", b"uint8", b"logical", b"function_handle", b"canonical empty",
        b"",
    )  # fmt: skip
    values = [np.bytes_(rng.choice(classes)), np.uint64(3), np.int32(-1), np.arange(3), np.float32("nan"), "text"]
    name = rng.choice(
        (*item.attrs, "MATLAB_class", "MATLAB_class", "MATLAB_empty", "MATLAB_int_decode", "MATLAB_fields")
    )
    item.attrs[name] = rng.choice(values)


def of_protobuf(data: bytes, rng: random.Random) -> bytes:
    """Changes of fields in a protobuf message, at any depth: numbers, wire types, values, lengths, order."""
    path = []  # the fields of each message from the outermost one inwards, and the index of the field that is changed
    while fields := _fields(data):
        index = rng.randrange(len(fields))
        path.append((fields, index))
        _, wire, data = fields[index]
        if wire != 2 or len(data) <= 2 or rng.random() < 0.3:
            break
    if not path:
        return of_bytes()(data, rng)
    fields, index = path.pop()
    _change_field(fields, index, rng)
    data = _message(fields)
    for outer, index in reversed(path):
        number, wire, _ = outer[index]
        outer[index] = (number, wire, data)
        data = _message(outer)
    return data


def _change_field(fields: list[tuple[int, int, bytes]], index: int, rng: random.Random) -> None:
    number, wire, value = fields[index]
    choice = rng.randrange(6)
    if choice == 0:
        del fields[index]
    elif choice == 1:
        fields[index:index] = [fields[index]] * rng.choice((1, 3, 40))
    elif choice == 2:
        fields[index] = (rng.choice((1, 2, 3, 4, 5, 7, 100, 102, 2**28)), wire, value)
    elif choice == 3:
        fields[index] = (number, rng.choice((0, 1, 2, 3, 4, 5, 7)), value)
    elif wire == 0:
        fields[index] = (number, wire, _varint(rng.choice(NUMBERS)))
    elif wire == 2 and rng.random() < 0.1:
        for _ in range(rng.choice((2, 50, 500))):  # messages in messages
            value = _message([(number, 2, value)])
        fields[index] = (number, wire, value)
    else:
        fields[index] = (number, wire, of_bytes(WORDS)(value, rng))


def _message(fields: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(
        _varint(number << 3 | wire) + (_varint(len(value)) + value if wire == 2 else value)
        for number, wire, value in fields
    )


def _fields(data: bytes) -> list[tuple[int, int, bytes]]:
    """(number, wire type, bytes) of a message; nothing where it is none."""
    found, at = [], 0
    while at < len(data):
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == 2:
            size, at = _read_varint(data, at)
            end = at + size
        elif wire == 0:
            _, end = _read_varint(data, at)
        else:
            end = at + {1: 8, 5: 4}.get(wire, len(data))
        if end > len(data):
            return []
        found.append((key >> 3, wire, data[at:end]))
        at = end
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if not byte & 0x80:
            break
    return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
