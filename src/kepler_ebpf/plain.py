"""Names and answers are what strangers chose: text of theirs that is shown to people."""

from __future__ import annotations


def clean(text: str) -> str:
    """Nothing that a terminal would obey, and nothing that hides or turns letters."""
    return "".join(one if one.isprintable() else "?" for one in text)


def clean_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(clean(line.expandtabs()) for line in text.split("\n"))


def cut(text: str, width: int) -> str:
    """The same in so many columns; the end is what is left out."""
    plain = clean(text)
    return plain if len(plain) <= width else plain[: width - 1] + "…"
