"""A small file does not take the machine's memory: what its columns unpack to is told before they are unpacked."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.recording import schema
from kepler_ebpf.recording.reader import read
from tests.report.runs import STORMY, Recorded, storm

pa = pytest.importorskip("pyarrow")

MOST_BYTES = 2 << 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("unpacking") / "storm"
    machine = Recorded(path, STORMY, packages=2)
    storm(machine, 1, 30)
    machine.close()
    return path


def with_a_word(batch: Any, word: str) -> Any:
    """The batch with one more word among the names of containers, which no line has."""
    position = batch.schema.get_field_index("container")
    column, columns = batch.column(position), list(batch.columns)
    words = pa.array([*column.dictionary.to_pylist(), word], pa.utf8())
    columns[position] = pa.DictionaryArray.from_arrays(column.indices, words)
    return pa.record_batch(columns, schema=batch.schema)


def with_lines(batch: Any, lines: int) -> Any:
    """The batch with so many more lines in which nothing is said."""
    rest = [pa.nulls(lines, field.type) for field in batch.schema]
    return pa.table([pa.chunked_array([a, b]) for a, b in zip(batch.columns, rest)], batch.schema).combine_chunks()


def write(path: Path, whole: Path, change: Callable[[Any], Any], compression: str) -> int:
    """The recording, and behind it its first batch once more, changed; returns where that begins."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with whole.open("rb") as source:
        batches = list(pa.ipc.open_stream(source))
    with path.open("wb") as file, pa.ipc.new_stream(file, batches[0].schema, options=options) as stream:
        for batch in batches:
            stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(batch)})
        place = file.tell()
        changed = change(batches[0])
        for batch in [changed] if isinstance(changed, pa.RecordBatch) else changed.unify_dictionaries().to_batches():
            stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: b"0"})
    return place


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize(
    "change",
    [lambda batch: with_a_word(batch, "a" * (300 << 20)), lambda batch: with_lines(batch, 2_000_000)],
    ids=["a word", "lines"],
)
def test_what_unpacks_to_more_than_a_recorder_writes_is_damage(
    whole: Path, tmp_path: Path, change: Callable[[Any], Any], compression: str
) -> None:
    place = write(tmp_path / "bomb", whole, change, compression)
    before = pa.default_memory_pool().max_memory()
    recording = read(tmp_path / "bomb")
    assert recording.table.num_rows == read(whole).table.num_rows, "what stands before it is read"
    assert f"damaged at byte {place} (" in recording.damage
    assert " unpack to " in recording.damage
    assert pa.default_memory_pool().max_memory() == before, "nothing was unpacked"


def test_no_memory_is_asked_for_before_it_is_refused(whole: Path, tmp_path: Path) -> None:
    """In a process that may not have it: a length of a petabyte, and one that is less than nothing."""
    data = bytearray(whole.read_bytes())
    with whole.open("rb") as file:
        for message in pa.ipc.MessageReader.open_stream(file):
            body = file.tell() - (message.body.size if message.body else 0)
            if message.type == "record batch":
                break
    script = (
        "import sys, pathlib; from kepler_ebpf.recording.reader import read; "
        "print(read(pathlib.Path(sys.argv[1])).damage)"
    )
    for length in (1 << 50, -2, -(1 << 62), 1 << 33):
        data[body : body + 8] = length.to_bytes(8, "little", signed=True)
        (tmp_path / "bomb").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "bomb")],
            env=os.environ,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES)),
        )
        assert "damaged at byte" in done.stdout, (length, done.stderr)
        assert str(length) in done.stdout or "unpack to" in done.stdout


def test_a_dictionary_that_stands_for_many_batches_is_no_longer_than_their_lines(whole: Path, tmp_path: Path) -> None:
    """It is told once, and read with each batch."""
    with whole.open("rb") as source:
        batches = list(pa.ipc.open_stream(source))
    changed = with_a_word(batches[0], "a" * (4 << 20))
    with (tmp_path / "long").open("wb") as file, pa.ipc.new_stream(file, changed.schema) as stream:
        stream.write_batch(changed, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(changed)})
    assert "more words than lines" in read(tmp_path / "long").damage
