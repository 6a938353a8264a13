"""Escapes untrusted text for HTML, XML, LaTeX and terminals."""

from __future__ import annotations


def escaped(text: str) -> str:
    """`text` for HTML and XML content and quoted attributes; characters forbidden in XML become U+FFFD."""
    import html

    return html.escape("".join(c if _allowed_in_xml(c) else "\N{REPLACEMENT CHARACTER}" for c in text), quote=True)


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def latex_escaped(text: str) -> str:
    """`text` for LaTeX, with special characters escaped."""
    return "".join(LATEX.get(character, character) for character in text)


def printable(text: str) -> str:
    """`text` for a terminal: control characters are escaped as in a Python string."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def clipped(text: str, length: int) -> str:
    """`text` with its middle replaced by an ellipsis if it is longer than `length`."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (length - 1 - head):]}"


def _allowed_in_xml(character: str) -> bool:
    code = ord(character)
    return code >= 0x20 and not 0x7F <= code < 0xA0 and not 0xD800 <= code < 0xE000 and code not in (0xFFFE, 0xFFFF)
