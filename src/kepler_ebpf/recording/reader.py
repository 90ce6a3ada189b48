"""Reads a recording back, as far as it is whole."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import KeplerError
from ..plain import cut
from . import gate, schema
from .unpacking import Unpacking

STANDARD_INPUT = Path("-")
_BEGIN = b"\xff\xff\xff\xff"
"""Of every message of an Arrow stream: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format"""


@dataclass(frozen=True)
class Recording:
    """``table``: all lines that could be read, a ``pyarrow.Table``. ``rules``: how energy was shared (``Rules``).
    ``info``: facts of the machine. ``damage``: where the file is damaged, as a sentence; empty where it is whole.
    """

    path: Path
    table: Any
    rules: Mapping[str, Any]
    info: Mapping[str, str]
    damage: str

    def level(self, name: str) -> Any:
        """The lines of one level, a ``pyarrow.Table``."""
        compute = schema.arrow().compute
        return self.table.filter(compute.equal(self.table["level"].cast("string"), name))


def read(path: Path, columns: Sequence[str] | None = None) -> Recording:
    """Everything up to the first damage. ``path``: ``STANDARD_INPUT`` too. ``columns``: those to keep; all by default.

    Raises KeplerError where nothing can be read.
    """
    pa = schema.arrow()
    try:
        file, path = _opened(path)
    except OSError as error:
        raise KeplerError(f"cannot read {path}: {error.strerror}") from error
    with file:
        try:
            stream = pa.ipc.open_stream(file)
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            raise KeplerError(f"{path}: its header is cut off or damaged") from error
        rules, info = _metadata(path, stream.schema)
        kept = stream.schema if columns is None else pa.schema([stream.schema.field(name) for name in columns])
        damage: list[str] = []
        batches = [batch.select(kept.names) for batch in _batches(pa, stream, file, path, gate.Gate(rules), damage)]
        table = pa.Table.from_batches(batches, kept).unify_dictionaries()
    return Recording(path, table, rules, info, "".join(damage))


def _opened(path: Path) -> tuple[_Bounded, Path]:
    """A file to read from its beginning, and how it is called. Raises OSError, and KeplerError where it begins no
    Arrow stream."""
    is_input = path == STANDARD_INPUT
    file: IO[bytes] = os.fdopen(os.dup(0), "rb") if is_input else path.open("rb")
    if is_input:
        path = Path("standard input")
    try:
        begin = file.read(len(_BEGIN))
        if begin != _BEGIN:
            raise KeplerError(f"{path} is no recording: no Arrow stream begins at byte 0")
        if not file.seekable():  # a pipe: offsets are told all the same
            spool = tempfile.TemporaryFile()  # noqa: SIM115 -- it is read after this
            with file as pipe:
                file = spool
                spool.write(begin)
                shutil.copyfileobj(pipe, spool)
        return _Bounded(file), path
    except BaseException:
        file.close()
        raise


class _Bounded(io.BufferedReader):
    """Nobody gets room for more bytes than the file has left: a turned bit makes a length of petabytes."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._size = self.seek(0, os.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None or size < 0 else min(size, max(0, self._size - self.tell())))


def _metadata(path: Path, form: Any) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Rules and facts of a recording of this version. Raises KeplerError where it is none."""
    metadata = form.metadata or {}
    version = metadata.get(schema.VERSION_KEY, b"").decode("ascii", "replace")
    if version != str(schema.VERSION):
        found = f"version {cut(version, 20)}" if version else "no version"
        raise KeplerError(f"{path}: {found} of the recording's format; this program reads version {schema.VERSION}")
    try:
        rules, info = schema.told(metadata)
        gate.check_rules(rules)
        gate.check_info(info)
        if not form.equals(schema.arrow_schema({})):
            raise ValueError
    except (KeyError, ValueError) as error:
        raise KeplerError(f"{path}: its header is damaged: not what version {version} of the format has") from error
    return rules, info


def _batches(pa: Any, stream: Any, file: Any, path: Path, check: gate.Gate, damage: list[str]) -> Iterator[Any]:
    unpacking = Unpacking()
    while True:
        offset = file.tell()
        try:
            _look_ahead(pa, file, unpacking)
            batch, told = stream.read_next_batch_with_custom_metadata()
            batch.validate(full=True)
            if schema.checksum(batch) != (told or {}).get(schema.CHECKSUM_KEY):
                raise ValueError("its checksum is another")
            check.check(batch)
        except StopIteration:
            if file.read(1):  # a length of nothing is the mark of the end
                damage.append(_damaged(path, offset, "the end is marked here, and more follows"))
            return
        except MemoryError:
            raise  # the file asks for no more than it may: memory is lacking indeed
        except (pa.ArrowException, OSError, EOFError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            damage.append(_damaged(path, offset, reason))
            return
        yield batch


def _look_ahead(pa: Any, file: Any, unpacking: Unpacking) -> None:
    """Raises ValueError where the next batch, with the dictionaries before it, would take too much memory."""
    offset = file.tell()
    for message in pa.ipc.MessageReader.open_stream(file):
        unpacking.add(message)
        if message.type == "record batch":
            break
    file.seek(offset)


def _damaged(path: Path, offset: int, reason: str) -> str:
    return f"{path}: damaged at byte {offset} ({reason}): what stands before it was read"
