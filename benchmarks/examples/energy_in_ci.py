#!/usr/bin/env python3
"""Does a change cost energy? Compares two programs in CI, and fails where the new one uses too much.

    sudo benchmarks/examples/energy_in_ci.py --max-joules 40 './build-main/bench' './build-branch/bench'

Prints a table in Markdown for the job's summary. Exit code 0: the new program stays within the budget and does not use
more than the old one by more than --tolerance; 1: it does not; any other: the comparison did not come about, as with
fewer than seven runs of each, of which nothing is certain.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def compare(old: str, new: str, runs: int) -> dict[str, Any]:
    """What ``kepler-ebpf stat`` writes of both. Ends with its exit code where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "energy.json"
        verb = [*shlex.split(os.environ.get("KEPLER_EBPF", "kepler-ebpf")), "stat", "-r", str(runs), "--warmup", "1"]
        done = subprocess.run([*verb, "--json", file, "--vs", new, "--", *shlex.split(old)], check=False)
        if done.returncode:
            sys.exit(done.returncode if done.returncode > 1 else 2)
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return document


def table(document: dict[str, Any]) -> str:
    """Both programs, as Markdown."""
    lines = ["| program | joules | ± | seconds |", "|---|---|---|---|"]
    for target in document["targets"]:
        joules, seconds = target["summary"]["joules"], target["summary"]["elapsed_seconds"]
        deviation = "" if joules["deviation"] is None else f"{joules['deviation']:.2g}"  # of one run there is none
        lines.append(f"| {code(target['title'])} | {joules['mean']:.4g} | {deviation} | {seconds['mean']:.4g} |")
    return "\n".join(lines)


def code(text: str) -> str:
    """Text as it is, in a table too: behind more backticks than it has in a row, and no pipe of it ends a cell."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|")


def complaints(document: dict[str, Any], max_joules: float | None, tolerance: float) -> list[str]:
    """Why the new program does not pass; nothing where it does."""
    found = []
    used = document["targets"][1]["summary"]["joules"]["mean"]
    if max_joules is not None and used > max_joules:
        found.append(f"{used:.4g} J used, {max_joules:g} J allowed")
    ratio = document["ratio_of_second_to_first"]["joules"]
    # Only what is certain counts: the low end of the interval.
    if ratio is not None and ratio["low"] > 1 + tolerance:
        found.append(
            f"at least {100 * (ratio['low'] - 1):.1f} % more energy than before ({100 * tolerance:g} % allowed)"
        )
    return found


def finite(text: str) -> float:
    """A number that others can be more than: not everything that Python takes for one is (nan)."""
    if not 0 <= float(text) < math.inf:
        raise ValueError
    return float(text)


def whole(text: str) -> int:
    """How often a program runs."""
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ValueError
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="command line of the program as it was")
    parser.add_argument("new", help="command line of the program as it would be")
    parser.add_argument("-r", "--runs", type=whole, default=20, help="of each (default 20)")
    parser.add_argument("--max-joules", type=finite, help="what one run of the new program may use")
    parser.add_argument("--tolerance", type=finite, default=0.02, help="how much more it may use (default 0.02: 2 %%)")
    arguments = parser.parse_args()
    document = compare(arguments.old, arguments.new, arguments.runs)
    if any(target["summary"]["joules"]["mean"] is None for target in document["targets"]):
        print("no meter told any energy: nothing can be compared here", file=sys.stderr)
        return 2
    print(table(document))
    print(f"\nPower is from: {document['power_source']}")
    failed = complaints(document, arguments.max_joules, arguments.tolerance)
    for complaint in failed:
        print(f"\n**{code(arguments.new)}: {complaint}**")
    if failed:
        return 1
    if document["ratio_of_second_to_first"]["joules"] is None:
        print("too few runs, or runs that used nothing: whether more is used than before is not known", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
