"""The page at ``/``: what answers here, facts about this collector, and a script that follows the node live.

One file without any request to elsewhere. Its policy allows this one script and this one style sheet by their digests,
requests to this collector, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from .. import data

LINKS = {
    "/metrics": "energy of this node's processes and containers, for Prometheus",
    "/healthz": "is the collector alive",
    "/readyz": "has it something to serve",
}


def _asset(name: str) -> str:
    return (data.FOLDER / "page" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_PAGE, _CSS, _JS = (_asset(name) for name in ("page.html", "page.css", "page.js"))

PAGE_HEADERS = (
    (
        "Content-Security-Policy",
        f"default-src 'none'; script-src {_digest(_JS)}; style-src {_digest(_CSS)}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)
"""Names and values of the headers that go with the page."""


def landing_page(title: str, version: str, facts: Mapping[str, object]) -> str:
    """The HTML of ``/``. ``facts`` become rows in their order; every text is escaped."""
    links = (f'<li><a href="{path}">{path}</a> – {escape(what)}</li>' for path, what in LINKS.items())
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return _PAGE.format(
        title=escape(title), version=escape(version), css=_CSS, js=_JS, links="\n".join(links), facts="\n".join(rows)
    )
