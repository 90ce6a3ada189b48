"""The same for programs: JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..columns import NODE
from .statistics import ratio
from .text import Measured, amount
from .usage import FIGURES, Usage

VERSION = 1
_PARTS = {"joules": "", "others": "others_", "idle": "idle_", "unattributed": "unattributed_", "whole": "whole_"}
"""Parts of a usage, and what stands before their components' names in files."""


def as_json(measured: Sequence[Measured], facts: Mapping[str, Any]) -> str:
    """Every run of every target, their means, and how the second compares with the first. What is not known is null."""
    document: dict[str, Any] = {"version": VERSION, **facts, "targets": [_target(one) for one in measured]}
    if len(measured) == 2:
        document["ratio_of_second_to_first"] = {
            figure.name: {**vars(found), "is_significant": found.is_significant} if found else None
            for figure in FIGURES
            for found in [ratio(measured[1].values(figure), measured[0].values(figure))]
        }
    return json.dumps(_plain(document), indent=1, ensure_ascii=False) + "\n"


def as_csv(measured: Sequence[Measured]) -> str:
    """One line a run. What is not known is empty. ``target_number``: 1, or 2 of the command that is compared with it,
    which may be called the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    joules = [f"{prefix}{component}_joules" for prefix in _PARTS.values() for component in NODE]
    writer.writerow(["target", "target_number", "run", "status", *(figure.name for figure in FIGURES), *joules])
    for position, one in enumerate(measured, 1):
        for number, usage in enumerate(one.usages, 1):
            status = "" if usage.status is None else usage.status
            cells = [figure.of(usage) for figure in FIGURES]
            cells += [value for part in _PARTS for value in getattr(usage, part).tolist()]
            told = (repr(cell) if math.isfinite(cell) else "" for cell in cells)
            writer.writerow([one.quoted, position, number, status, *told])
    return text.getvalue()


def as_markdown(measured: Sequence[Measured]) -> str:
    """A table with one row a target, to be pasted into an issue."""
    told = [figure for figure in FIGURES if np.isfinite(measured[0].values(figure)).all()]
    heads = ["", *(figure.title for figure in told)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for one in measured:
        cells = []
        for figure in told:
            summary = one.summary(figure)
            spread = f" ± {amount(summary.deviation, figure.unit)}" if math.isfinite(summary.deviation) else ""
            cells.append(f"{amount(summary.mean, figure.unit)}{spread}")
        lines.append(f"| {_code(one.quoted)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Text as it is, in a cell: a fence that is longer than any run of backticks (CommonMark, section 6.1), and pipes
    escaped, as cells are told apart before anything else (GitHub Flavored Markdown, section 4.10)."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|")


def _target(one: Measured) -> dict[str, Any]:
    return {
        "title": one.quoted,
        "command": None if one.command is None else [_sayable(word) for word in one.command],
        "runs": [_run(usage) for usage in one.usages],
        "summary": {figure.name: vars(one.summary(figure)) for figure in FIGURES},
    }


def _sayable(text: str) -> str:
    """What UTF-8 can say of it: bytes that are none are lone surrogates here (PEP 383)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _run(usage: Usage) -> dict[str, Any]:
    return {
        **{figure.name: figure.of(usage) for figure in FIGURES},
        **{
            f"{prefix}{component}_joules": value
            for part, prefix in _PARTS.items()
            for component, value in zip(NODE, getattr(usage, part).tolist())
        },
        "samples": usage.samples,
        "late_samples": usage.late,
        "status": usage.status,
        "processes_left": usage.left,
    }


def _plain(value: Any) -> Any:
    """What JSON can say: it has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
