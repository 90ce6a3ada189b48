"""The landing page: what answers here, and a few facts about this collector."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

LINKS = {
    "/metrics": "energy of this node's processes and containers, for Prometheus",
    "/healthz": "is the collector alive",
    "/readyz": "has it something to serve",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }}
h1 small {{ font-weight: normal; opacity: .65 }}
th {{ text-align: left; padding: .1rem 1.5rem .1rem 0; vertical-align: top; white-space: nowrap }}
td {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{title} <small>{version}</small></h1>
<ul>
{links}
</ul>
<table>
{facts}
</table>
</body>
</html>
"""


def landing_page(title: str, version: str, facts: Mapping[str, object]) -> str:
    """The HTML of ``/``. ``facts`` become rows in their order; every text is escaped."""
    links = (f'<li><a href="{path}">{path}</a> – {escape(what)}</li>' for path, what in LINKS.items())
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return _PAGE.format(title=escape(title), version=escape(version), links="\n".join(links), facts="\n".join(rows))
