"""Text of unknown origin made safe: for HTML and XML, for LaTeX, and for terminals."""

from __future__ import annotations


def escaped(text: str) -> str:
    """`text` for element content and quoted attributes of HTML and XML; characters that XML forbids become U+FFFD."""
    import html

    return html.escape("".join(c if _allowed_in_xml(c) else "\N{REPLACEMENT CHARACTER}" for c in text), quote=True)


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def latex_escaped(text: str) -> str:
    """`text` for LaTeX: what has a meaning there is taken literally."""
    return "".join(LATEX.get(character, character) for character in text)


def printable(text: str) -> str:
    """`text` for a terminal: control characters, escape sequences included, are shown as in a Python string."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def clipped(text: str, length: int) -> str:
    """`text`, its middle replaced by an ellipsis where it is longer than `length`."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (length - 1 - head):]}"


def _allowed_in_xml(character: str) -> bool:
    code = ord(character)
    return code >= 0x20 and not 0x7F <= code < 0xA0 and not 0xD800 <= code < 0xE000 and code not in (0xFFFE, 0xFFFF)
