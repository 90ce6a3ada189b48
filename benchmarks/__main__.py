"""Measure everything that has a goal, print a table, write JSON: ``make bench``. Needs root; takes five minutes.

Exits with 1, after it has written everything, where a goal is not met.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from benchmarks import containers, footprint, history, page, record, sample, stat, switch
from benchmarks.report import fill, table

_PARTS = {
    "switch": switch,
    "sample": sample,
    "footprint": footprint,
    "containers": containers,
    "page": page,
    "history": history,
    "stat": stat,
    "record": record,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which: {', '.join(_PARTS)} (default all)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page's marked section")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(_PARTS)}")
    figures = []
    for name in arguments.parts or _PARTS:
        print(f"measuring {name} …", file=sys.stderr)
        figures += _PARTS[name].measure()
    result = f"{platform.machine()}, Linux {platform.release()}\n\n{table(figures)}"
    print(result)
    if arguments.write:
        page = arguments.write.read_text()
        arguments.write.write_text(fill(page, "bench", f"```\n{result}\n```"))
    if arguments.json:
        arguments.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    missed = [figure.name for figure in figures if figure.verdict == "NOT MET"]
    if missed:
        print(f"goals not met: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
