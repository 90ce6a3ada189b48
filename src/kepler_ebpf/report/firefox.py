"""Power tracks for the Firefox Profiler (https://profiler.firefox.com, "load a profile from file").

The processed profile format, version 48, which every newer profiler reads. A counter of category ``power`` holds the
energy since its sample before, in picowatt-hours.
https://github.com/firefox-devtools/profiler/blob/main/docs-developer/CHANGELOG-formats.md
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..columns import Floats
from .book import Book
from .series import Stack
from .text import sources_line

_GECKO_VERSION, _PROCESSED_VERSION = 27, 48
_PICOWATT_HOURS = 1e12 / 3600.0
MOST_STEPS = 200_000


def profile(book: Book, stack: Stack) -> str:
    """The profile: a track for the node, and one for each layer."""
    ends_ms = np.round(stack.edges[1:] * 1e3, 6)
    began_ms = (book.end_us[0] - book.seconds[0] * 1e6) / 1e3
    tracks = [("node", sources_line(book), stack.joules.sum(axis=0))]
    tracks += [(label, f"energy of {label}", joules) for label, joules in zip(stack.labels, stack.joules)]
    return json.dumps(
        {
            "meta": _meta(book, began_ms, float(np.median(np.diff(stack.edges))) * 1e3),
            "libs": [],
            "pages": [],
            "threads": [_thread(book, ends_ms)],
            "counters": [_counter(name, text, ends_ms, joules) for name, text, joules in tracks],
        },
        separators=(",", ":"),
    )


def _meta(book: Book, began_ms: float, interval_ms: float) -> dict[str, Any]:
    return {
        "interval": interval_ms,
        "startTime": began_ms,
        "processType": 0,
        "categories": [{"name": "Other", "color": "grey", "subcategories": ["Other"]}],
        "product": f"kepler-ebpf: {book.path.name}",
        "stackwalk": 0,
        "version": _GECKO_VERSION,
        "preprocessedProfileVersion": _PROCESSED_VERSION,
        "CPUName": book.info.get("cpu_model", ""),
        "oscpu": f"Linux {book.info.get('cpu_architecture', '')}".strip(),
        "symbolicated": True,
        "symbolicationNotSupported": True,
        "markerSchema": [],
        "importedFrom": "kepler-ebpf",
    }


def _counter(name: str, description: str, ends_ms: Floats, joules: Floats) -> dict[str, Any]:
    """A power track. Between two samples without energy those between them say nothing, and are left out."""
    counts = np.round(np.maximum(joules, 0.0) * _PICOWATT_HOURS).astype(np.int64)
    some = counts > 0
    kept = some | np.append(some[1:], True) | np.append(True, some[:-1])
    samples = {"time": ends_ms[kept].tolist(), "count": counts[kept].tolist(), "length": int(kept.sum())}
    return {
        "name": name,
        "category": "power",
        "description": description,
        "pid": "0",
        "mainThreadIndex": 0,
        "samples": samples,
    }


def _thread(book: Book, ends_ms: Floats) -> dict[str, Any]:
    """The profiler shows tracks beside a thread: one that has a root and nothing in it, from the start to the end."""
    times = [0.0, float(ends_ms[-1])]
    return {
        "processType": "default",
        "processName": book.info.get("node") or "node",
        "processStartupTime": 0,
        "processShutdownTime": None,
        "registerTime": 0,
        "unregisterTime": None,
        "pausedRanges": [],
        "name": "GeckoMain",
        "isMainThread": True,
        "pid": "0",
        "tid": 0,
        "samples": {
            "weightType": "samples",
            "weight": None,
            "eventDelay": [0, 0],
            "stack": [0, 0],
            "time": times,
            "length": 2,
        },
        "markers": _table(data=[], name=[], startTime=[], endTime=[], phase=[], category=[]),
        "stackTable": _table(frame=[0], prefix=[None], category=[0], subcategory=[0]),
        "frameTable": _table(
            address=[-1],
            inlineDepth=[0],
            category=[0],
            subcategory=[0],
            func=[0],
            nativeSymbol=[None],
            innerWindowID=[0],
            implementation=[None],
            line=[None],
            column=[None],
        ),
        "funcTable": _table(
            isJS=[False],
            relevantForJS=[False],
            name=[0],
            resource=[-1],
            fileName=[None],
            lineNumber=[None],
            columnNumber=[None],
        ),
        "resourceTable": _table(lib=[], name=[], host=[], type=[]),
        "nativeSymbols": _table(libIndex=[], address=[], name=[], functionSize=[]),
        "stringArray": ["(root)"],
    }


def _table(**columns: list[Any]) -> dict[str, Any]:
    return {**columns, "length": len(next(iter(columns.values())))}
