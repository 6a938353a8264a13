"""The prototxt reader: protobuf's text format with the merged schema; errors have line and column."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple, NoReturn

from matnet.converters.files import dialects, layer_types
from matnet.converters.files.dialects import Severity
from matnet.converters.files.message import FileText, Identifier, Message
from matnet.converters.files.schema import FLOATS, INTEGERS, OPEN, Field, MessageType, float32, message_type
from matnet.errors import FileFormatError, listing, nearest
from matnet.files import existing_file, looks_like_html

LARGEST = 4 << 20
"""The largest prototxt in bytes; the largest published ones have a few hundred kilobytes."""
DEEPEST = 100
"""The deepest nesting of messages: protobuf's own limit."""

_BLANK = re.compile(r"(?:\s+|#[^\n]*)*")
_TOKEN = re.compile(r"""
    (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<number> (?: 0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)?|\.\d+) (?:[eE][-+]?\d+)? [fF]? ) (?![\w.]) )
  | (?P<string> "[^"\\\n]*(?:\\.[^"\\\n]*)*" | '[^'\\\n]*(?:\\.[^'\\\n]*)*' )
  | (?P<sign>   [{}<>\[\]:,;-] )""", re.VERBOSE)
_OFFENDER = re.compile(r"[^\s{}<>\[\]:,;#]{1,40}|.")
_ESCAPE = re.compile(
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U(00[01][0-9a-fA-F]{5})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_CLOSER = {"{": "}", "<": ">"}
_TRUTH = {**dict.fromkeys(("true", "True", "t", "1"), True), **dict.fromkeys(("false", "False", "f", "0"), False)}


def read_text(path: str | os.PathLike[str], type_name: str = "NetParameter",
              lenient: bool = False, notes: list[str] | None = None) -> Message:
    """A prototxt as a message of `type_name`.

    Raises FileFormatError for the first syntax error (with line and column), or a list of all unknown fields, unknown
    enum values, missing required fields and repeated singular fields. Those that cannot change a result (see
    `dialects`) are added to `notes` instead. With `lenient`, all except enum values are: unknown fields are kept under
    their names, the last of repeated scalars is used, and repeated messages are merged. Unknown fields in a layer of an
    unknown type are always kept, without a note.
    """
    file = existing_file(path, "prototxt")
    size = file.stat().st_size
    if size > LARGEST:
        raise FileFormatError(f"{file}: has {size} bytes, but a prototxt has at most {LARGEST}; is it the caffemodel?")
    return parse_text(_decoded(file.read_bytes(), str(file)), str(file), type_name, lenient, notes)


def parse_text(text: str, path: str, type_name: str = "NetParameter", lenient: bool = False,
               notes: list[str] | None = None) -> Message:
    """As `read_text`, for a text in memory; `path` is used only in messages."""
    source = FileText(path, text)
    parser = _Parser(text, source)
    message = Message(message_type(type_name), source, 0)
    parser.fields(message, closer=None, opened=0, depth=0)
    _refuse_mixed_generations(message)
    _refuse_solver(message)
    limit = Severity.UNKNOWN if lenient else Severity.NEUTRAL
    refused = sorted(problem for problem in parser.problems if problem.weight > limit)
    if refused:
        found = [f"{_line_column(source, problem.position)}: {problem.text}" for problem in refused]
        way = dialects.lenient_hint([problem.weight for problem in refused], lenient)
        raise FileFormatError(listing(f"{path}: {len(found)} invalid fields (correct the file{way}):", found))
    if notes is not None:
        notes += [f"{path}, {_line_column(source, problem.position)}: {problem.text}; ignored"
                  for problem in sorted(parser.problems)]
    return message


def _decoded(data: bytes, path: str) -> str:
    """The text of a prototxt; bytes that are not UTF-8 become \\xNN, like an escape in a string."""
    head = data[:1024]
    if looks_like_html(head):
        raise FileFormatError(f"{path}, line 1, column 1: found a web page, expected a prototxt; "
                              "the download link is dead or asks for a login")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileFormatError(f"{path}, line 1, column 1: found UTF-16, expected UTF-8; save it as UTF-8")
    for at, byte in enumerate(head):
        if byte < 32 and byte not in b"\t\n\r\f\v":
            raise FileFormatError(f"{path}, byte {at}: found the binary value {byte}, expected text; are the "
                                  "prototxt and the caffemodel swapped?")
    return data.decode("utf-8-sig", errors="backslashreplace").replace("\r\n", "\n")


def _line_column(source: FileText, position: int) -> str:
    line, column = source.line_column(position)
    return f"line {line}, column {column}"


def _refuse_mixed_generations(message: Message) -> None:
    if message.has("layer") and message.has("layers"):
        source = message.source
        v2, v1 = (_line_column(source, message.get(name)[0].position) for name in ("layer", "layers"))
        raise FileFormatError(f"{source.path}: both `layer` ({v2}) and `layers` ({v1}) in one file; use "
                              "either the V2 or the V1 form, as Caffe requires")


SOLVER_FIELDS = frozenset((
    "net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "base_lr", "lr_policy", "gamma",
    "power", "stepsize", "stepvalue", "momentum", "momentum2", "weight_decay", "max_iter", "test_iter",
    "test_interval", "test_initialization", "display", "snapshot", "snapshot_prefix", "solver_mode", "solver_type",
    "iter_size", "average_loss", "random_seed", "device_id", "clip_gradients", "regularization_type",
))  # fmt: skip


def _refuse_solver(message: Message) -> None:
    """Raises FileFormatError for a solver file."""
    if message.type.name != "NetParameter" or message.has("layer") or message.has("layers"):
        return
    found = SOLVER_FIELDS.intersection(message.unknown())
    if found:
        net = next((message.get(name) for name in ("net", "train_net", "test_net") if name in found), None)
        named = f"; it names the network {net!r}" if isinstance(net, str) else ""
        raise FileFormatError(f"{message.source.path}: this is a solver (training settings), not a network{named}")


class _Token(NamedTuple):
    kind: str
    """word, number, string, sign or end."""
    text: str
    start: int


class _Problem(NamedTuple):
    """A problem at `position`, and its severity."""

    position: int
    text: str
    weight: Severity


class _Parser:
    """A recursive descent parser: one method per construct, one token of look-ahead."""

    def __init__(self, text: str, source: FileText) -> None:
        self.text = text
        self.source = source
        self.problems: list[_Problem] = []
        self.next_at = 0
        self.token = _Token("end", "", 0)
        self.advance()

    # -- tokens ----------------------------------------------------------------------------------

    def advance(self) -> _Token:
        """Move to the next token, and return the previous one."""
        left = self.token
        start = _BLANK.match(self.text, self.next_at).end()  # type: ignore[union-attr]
        match = _TOKEN.match(self.text, start)
        if match:
            self.token = _Token(match.lastgroup or "", match.group(), start)
            self.next_at = match.end()
        elif start == len(self.text):
            self.token = _Token("end", "", start)
        else:
            self.refuse(start, self.offender(start), "a field name, a value or a brace")
        return left

    def offender(self, start: int) -> str:
        """The text at `start`, quoted for a message."""
        if start >= len(self.text):
            return "the end of the file"
        if self.text[start] in "\"'" and not _TOKEN.match(self.text, start):
            return "an unterminated string"
        return f"`{_OFFENDER.match(self.text, start).group()}`"  # type: ignore[union-attr]

    def refuse(self, start: int, found: str, expected: str) -> NoReturn:
        raise FileFormatError(f"{self.source.place(start)}: found {found}, expected {expected}")

    def unexpected(self, expected: str) -> NoReturn:
        self.refuse(self.token.start, self.offender(self.token.start), expected)

    def skip(self, *signs: str) -> bool:
        if self.token.kind == "sign" and self.token.text in signs:
            self.advance()
            return True
        return False

    # -- messages --------------------------------------------------------------------------------

    def fields(self, message: Message, closer: str | None, opened: int, depth: int) -> None:
        """Parse all fields up to `closer` (None: the end of the file) into `message`."""
        first_problem = len(self.problems)
        while True:
            if self.token.kind == "end":
                if closer is None:
                    break
                line, _ = self.source.line_column(opened)
                self.unexpected(f"a field name or the `{closer}` that closes the message of line {line}")
            if closer and self.token.text == closer and self.token.kind == "sign":
                self.advance()
                break
            if self.token.kind != "word":
                self.unexpected("a field name" + (f" or `{closer}`" if closer else ""))
            self.field(message, self.advance(), depth)
            self.skip(",", ";")
        if _is_unknown_layer(message):
            del self.problems[first_problem:]
        self.check_required(message)
        if dialects.only_trains(message):
            self.problems[first_problem:] = [
                problem._replace(weight=Severity.NEUTRAL) for problem in self.problems[first_problem:]
            ]

    def problem(self, position: int, text: str, weight: Severity = Severity.UNKNOWN) -> None:
        self.problems.append(_Problem(position, text, weight))

    def field(self, message: Message, name: _Token, depth: int) -> None:
        known = message.type.fields.get(name.text)
        if known is None and message.type is not OPEN:
            hint = nearest(name.text, message.type.fields) if len(self.problems) < 20 else ""
            self.problem(name.start, f"unknown field `{name.text}` in {message.type.name}{hint}",
                         dialects.weight_of_field(message.type.name, name.text))
        colon = self.skip(":")
        many = colon and self.skip("[")
        if many and self.skip("]"):
            return
        while True:
            start = self.token.start
            if not colon and self.token.text not in _CLOSER:
                self.unexpected(f"`:` or `{{` after `{name.text}`")
            self.value(message, known, name, start, depth)
            if not many or self.skip("]"):
                return
            if not self.skip(","):
                self.unexpected("`,` or `]`")

    def value(self, message: Message, known: Field | None, name: _Token, start: int, depth: int) -> None:
        """Parse one value of the field `name` into `message`."""
        opens = self.token.kind == "sign" and self.token.text in _CLOSER
        if known is None:
            self.keep_unknown(message, name,
                              self.submessage(self.new(OPEN, name), depth) if opens else self.open_scalar())
        elif known.message is not None:
            if not opens:
                self.unexpected(f"`{{`, because `{name.text}` is a message")
            self.message_value(message, known, known.message, name, depth)
        else:
            value = self.scalar(known)
            if known.repeated:
                message.append(name.text, value, start)
            else:
                self.check_single(message, name)
                message.set(name.text, value, start)

    def new(self, type: MessageType, name: _Token) -> Message:
        return Message(type, self.source, name.start)

    def message_value(self, message: Message, known: Field, type: MessageType, name: _Token, depth: int) -> None:
        if known.repeated:
            message.append(name.text, self.submessage(self.new(type, name), depth), name.start)
        elif message.has(name.text):
            self.check_single(message, name)
            self.submessage(message.get(name.text), depth)
        else:
            message.set(name.text, self.submessage(self.new(type, name), depth), name.start)

    def submessage(self, message: Message, depth: int) -> Message:
        if depth >= DEEPEST:
            self.unexpected(f"at most {DEEPEST} levels of nested messages")
        opener = self.advance()
        self.fields(message, _CLOSER[opener.text], opener.start, depth + 1)
        return message

    @staticmethod
    def keep_unknown(message: Message, name: _Token, value: Any) -> None:
        if not message.has(name.text):
            message.set(name.text, value, name.start)
        elif isinstance(message.get(name.text), list):
            message.append(name.text, value)
        else:
            message.set(name.text, [message.get(name.text), value], name.start)

    def check_single(self, message: Message, name: _Token) -> None:
        if message.has(name.text):
            self.problem(name.start, f"`{name.text}` is repeated in one {message.type.name}, which takes it "
                                     "only once; the last value counts")

    def check_required(self, message: Message) -> None:
        for field in message.type.fields.values():
            if field.required and not message.has(field.name):
                self.problem(message.position or 0, f"{message.type.name} needs the field `{field.name}`")

    # -- scalars ---------------------------------------------------------------------------------

    def scalar(self, field: Field) -> Any:
        if field.kind in ("str", "bytes"):
            data = self.string(f"a string in quotes for `{field.name}`")
            return data if field.kind == "bytes" else data.decode("utf-8", errors="backslashreplace")
        if field.kind == "bool":
            if self.token.text not in _TRUTH:
                self.unexpected(f"true or false for `{field.name}`")
            return _TRUTH[self.advance().text]
        if field.kind == "enum":
            return self.enum(field)
        return self.integer(field) if field.kind in INTEGERS else self.floating(field)

    def string(self, expected: str) -> bytes:
        """One string literal, or several adjacent ones, joined."""
        if self.token.kind != "string":
            self.unexpected(expected)
        data = b""
        while self.token.kind == "string":
            literal = self.advance().text[1:-1].encode("utf-8", errors="backslashreplace")
            data += _ESCAPE.sub(_unescaped, literal)
        return data

    def enum(self, field: Field) -> str | int:
        enum = field.enum
        assert enum is not None
        start = self.token.start
        if self.token.kind == "number":
            number = self.integer(field)
            if number not in enum.names:
                self.unknown_value(field, start, str(number))
            return enum.names.get(number, number)
        if self.token.kind != "word":
            self.unexpected(f"a word such as {next(iter(enum.numbers))}, without quotes, for `{field.name}`")
        word = self.advance()
        if word.text not in enum.numbers and enum.name != "V1LayerType":
            self.unknown_value(field, word.start, word.text)
        return word.text

    def unknown_value(self, field: Field, start: int, value: str) -> None:
        """Record an unknown enum value: an error, unless the field cannot change a result."""
        assert field.enum is not None
        self.problem(start, f"unknown value {value} of `{field.name}`; expected {', '.join(field.enum.numbers)}",
                     dialects.weight_of_value(field.enum.name))

    def integer(self, field: Field) -> int:
        low, high = INTEGERS.get(field.kind, INTEGERS["i32"])
        start, negative = self.token.start, self.skip("-")
        value = _integer_of(self.token.text) if self.token.kind == "number" else None
        if value is None:
            self.unexpected(f"an integer for `{field.name}`")
        value = -value if negative else value
        if not low <= value <= high:
            self.refuse(start, f"`{value}`", f"an integer from {low} to {high} for `{field.name}`")
        self.advance()
        return value

    def floating(self, field: Field) -> float:
        assert field.kind in FLOATS
        negative = self.skip("-")
        value = _float_of(self.token)
        if value is None:
            self.unexpected(f"a number for `{field.name}`")
        self.advance()
        value = -value if negative else value
        return float32(value) if field.kind == "f32" else value

    def open_scalar(self) -> Any:
        """The value of an unknown field, typed by its spelling."""
        if self.token.kind == "string":
            return self.string("a string").decode("utf-8", errors="backslashreplace")
        negative = self.skip("-")
        if self.token.kind == "word" and not negative:
            word = self.advance().text
            return _TRUTH.get(word) if word in ("true", "false", "True", "False") else Identifier(word)
        number = self.token.kind == "number"
        value: float | None = _integer_of(self.token.text) if number else None
        if value is None:
            value = _float_of(self.token)
        if value is None:
            self.unexpected("a value")
        self.advance()
        return -value if negative else value


def _is_unknown_layer(message: Message) -> bool:
    """Whether `message` is a layer of an unknown type, so that unknown fields cannot be judged."""
    if message.type.name == "LayerParameter":
        return message.has("type") and not layer_types.is_known(message.get("type"))
    return message.type.name == "V1LayerParameter" and message.get("type") not in layer_types.V1_TO_V2


def _unescaped(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, short, long, other = match.groups()
    if octal:
        return bytes([int(octal, 8) & 255])
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if short or long:
        code = int(short or long, 16)
        return chr(code).encode("utf-8", errors="backslashreplace") if code <= 0x10FFFF else match.group()
    return _ESCAPED.get(other, other)


def _integer_of(text: str) -> int | None:
    """The value of a decimal, hexadecimal or octal integer; None for anything else."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", text):
        return int(text, 16)
    if re.fullmatch(r"0[0-7]{1,22}", text):
        return int(text, 8)
    return int(text) if re.fullmatch(r"0|[1-9]\d{0,18}", text) else None


def _float_of(token: _Token) -> float | None:
    """The value of a number, or of inf, infinity or nan in any case; None for anything else."""
    if token.kind == "word" and token.text.lower() in ("inf", "infinity", "nan"):
        return float(token.text)
    if token.kind != "number":
        return None
    whole = _integer_of(token.text)
    return float(whole) if whole is not None else float(token.text.rstrip("fF"))
