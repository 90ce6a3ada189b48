"""A second, strict reader of request heads, written from RFC 9112 by hand: what it takes must be taken, and alike."""

from __future__ import annotations

import re
from typing import NamedTuple

_REQUEST_LINE = re.compile(r"(?P<method>[A-Z]{1,20}) (?P<path>/[^\s?#]*)\S* HTTP/1\.(?P<minor>[01])")
# Neither space before the colon nor a line that continues the one before (RFC 9112, sections 5.1 and 5.2).
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
# Where two would leave it to each reader which of them counts (RFC 9112, sections 3.2 and 6.3).
_AT_MOST_ONCE = ("content-length", "host", "transfer-encoding")


class Read(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    keeps: bool


def read_head(head: bytes) -> Read | None:
    """The request of a header block without its empty line, or None for anything that is not beyond doubt."""
    if not head.isascii() or not head.endswith(b"\r\n"):
        return None
    first, *lines = head.decode().split("\r\n")[:-1]
    match = _REQUEST_LINE.fullmatch(first)
    headers: dict[str, str] = {}
    for field in map(_HEADER.fullmatch, lines):
        name = field[1].lower() if field else ""
        if field is None or (name in headers and name in _AT_MOST_ONCE):
            return None
        value = field[2].strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length, encoding = headers.get("content-length", "0"), headers.get("transfer-encoding", "chunked")
    if match is None or not re.fullmatch("[0-9]{1,18}", length) or encoding.lower() != "chunked":
        return None
    if match["minor"] == "1" and "host" not in headers:
        return None
    body = "transfer-encoding" in headers or int(length) != 0
    options = [option.strip(" \t").lower() for option in headers.get("connection", "").split(",")]
    return Read(match["method"], match["path"], headers, not (body or match["minor"] == "0" or "close" in options))
