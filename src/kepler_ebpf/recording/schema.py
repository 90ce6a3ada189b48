"""The columns of a recording. docs/recording.md describes them; a change of meaning raises ``VERSION``."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from ..errors import KeplerError

VERSION = 2
VERSION_KEY, RULES_KEY, INFO_KEY = b"kepler_ebpf.version", b"kepler_ebpf.rules", b"kepler_ebpf.info"
CHECKSUM_KEY = b"kepler_ebpf.crc32"

LEVELS = ("node", "idle", "unattributed", "domain", "process", "container")
"""What a line is about. At each of the last two levels: ``node = Σ lines + idle + unattributed``, frame by frame."""

# name, Arrow type, what it holds
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("frame", "uint32", "number of the frame, from 0"),
    ("end", "timestamp", "when the frame ended, UTC"),
    ("seconds", "float64", "wall time that the frame took"),
    ("level", "dictionary", "what the line is about: " + ", ".join(LEVELS)),
    ("row", "int32", "number of the domain, or of the row of a process or container; rows are used again"),
    ("name", "dictionary", "name of the process (comm) or container; label of the domain"),
    ("pid", "int32", "process id; only of processes"),
    ("start_ns", "uint64", "with pid: tells processes apart that had the same pid"),
    ("container_id", "dictionary", "id of the container, also of the one that a process is in"),
    ("container", "dictionary", "only of processes: name of that container, system or kernel outside of any"),
    ("pod", "dictionary", "pod of the container; empty while its name is not known, as in namespace"),
    ("namespace", "dictionary", "namespace of the pod"),
    ("source", "dictionary", "only of domains: which meter told it"),
    ("component", "dictionary", "only of domains: package, dram, gpu, core, uncore or platform"),
    ("package", "int16", "package that a slice ran on, or whose CPUs pay for a domain (-1: all)"),
    ("package_joules", "float64", "energy of the package part"),
    ("dram_joules", "float64", "energy of the DRAM part"),
    ("gpu_joules", "float64", "energy of the GPU part"),
    ("joules", "float64", "energy of all parts; of a domain, what it told"),
    ("cpu_seconds", "float64", "CPU time; of the node, everybody's"),
    ("cycles", "float64", "CPU cycles, 0 where they are not counted"),
    ("alone_ns", "float64", "CPU time while the core's other thread was idle: a weight of attribution"),
    ("shared_ns", "float64", "CPU time while it was not"),
    ("misses", "float64", "last-level cache misses"),
    ("there", "bool", "from this frame on a process or container is there (true) or no more (false), running or not"),
    ("cpu_request", "float64", "CPUs that a container asked for, where it is there from now on"),
    ("read_seconds", "float64", "only of domains: time that the joules cover, 0 where nothing was read"),
    ("floor_watts", "float64", "only of domains: the idle floor"),
    ("watts", "float64", "only of domains: power at the latest reading"),
    ("live", "bool", "only of domains: whether the meter answers"),
)


def table() -> str:
    """The columns as the table of docs/recording.md."""
    lines = ["| column | type | what it holds |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {kind} | {text} |" for name, kind, text in COLUMNS)]) + "\n"


def arrow() -> Any:
    """The module pyarrow. Raises KeplerError with the way to install it."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.ipc
    except ImportError as error:
        raise KeplerError("recordings need pyarrow: pip install 'kepler-ebpf[record]', or make setup") from error
    return pyarrow


def checksum(batch: Any) -> bytes:
    """CRC-32 of what a record batch holds, so that a bit that turned on the disk is not taken for energy.

    Raises ValueError where a word is missing from a dictionary.
    """
    crc = zlib.crc32(memoryview(batch.serialize()))
    for column in batch.columns:
        if hasattr(column, "dictionary"):
            if column.dictionary.null_count:
                raise ValueError("a word is missing")
            crc = zlib.crc32("\0".join(column.dictionary.to_pylist()).encode("utf-8", "surrogatepass"), crc)
    return str(crc).encode()


def metadata(rules: Mapping[str, Any], info: Mapping[str, str]) -> dict[bytes, bytes]:
    """What is said once of the whole recording, with a checksum of its own."""
    told = {RULES_KEY: json.dumps(dict(rules)).encode(), INFO_KEY: json.dumps(dict(info)).encode()}
    return {VERSION_KEY: str(VERSION).encode(), **told, CHECKSUM_KEY: _header_checksum(told)}


def told(metadata: Mapping[bytes, bytes]) -> tuple[Any, Any]:
    """Rules and facts of a recording, as JSON has them (:mod:`.gate` tells what they may be). Raises KeyError and
    ValueError where these are not what was written."""
    if _header_checksum(metadata) != metadata[CHECKSUM_KEY]:
        raise ValueError("its checksum is another")
    try:
        return json.loads(metadata[RULES_KEY]), json.loads(metadata[INFO_KEY])
    except RecursionError as error:
        raise ValueError("it is nested without end") from error


def _header_checksum(metadata: Mapping[bytes, bytes]) -> bytes:
    return str(zlib.crc32(metadata[RULES_KEY] + metadata[INFO_KEY])).encode()


def arrow_schema(metadata: Mapping[bytes, bytes]) -> Any:
    """The schema of a stream, with what is said once of the whole recording."""
    pa = arrow()
    types = {
        "timestamp": pa.timestamp("us", "UTC"),
        "dictionary": pa.dictionary(pa.int32(), pa.utf8()),
        **{name: getattr(pa, name)() for name in ("uint32", "int32", "uint64", "int16", "float64")},
        "bool": pa.bool_(),
    }
    return pa.schema([(name, types[kind]) for name, kind, _ in COLUMNS], dict(metadata))
