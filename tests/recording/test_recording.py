"""What is written comes back, as far as the file is whole; what is damaged is said with its place."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kepler_ebpf
from kepler_ebpf.energy.source import Domain
from kepler_ebpf.errors import KeplerError
from kepler_ebpf.recording import schema
from kepler_ebpf.recording.reader import Recording, read
from kepler_ebpf.recording.schema import COLUMNS
from kepler_ebpf.recording.writer import Recorder
from tests.node import Node

pa = pytest.importorskip("pyarrow")

DOMAINS = (Domain("package", 0, "fake", "0", idle_watts=2.0), Domain("dram", 0, "fake", "0", idle_watts=0.0))
FRAMES = 300


def record(path: Path, close: bool = True) -> Node:
    """Thirty seconds of three processes, one of which ends, and a failed reading now and then."""
    node = Node(DOMAINS, packages=1)
    recorder = Recorder(path, node.sampler, node.kernel, {"node": "fake"})
    try:
        for number in range(FRAMES):
            for tgid in (10, 11, 12):
                if tgid != 12 or number < 100:
                    node.kernel.run(tgid, tgid, 0, 10**6 * (tgid - 9), shared_ns=10**5)
            if number == 100:
                node.kernel.kill(12)
            if number % 7 == 3:
                node.source.fail(number % 2)
            recorder.add(node.tick(np.array([3.0, 0.5])), 1_700_000_000 * 10**9 + number * 10**8)
    finally:
        if close:
            recorder.close()
    return node


def total(recording: Recording, level: str, column: str = "joules") -> float:
    return float(sum(recording.level(level)[column].drop_null().to_pylist()))


def test_a_recording_holds_the_books(tmp_path: Path) -> None:
    node = record(tmp_path / "a")
    recording = read(tmp_path / "a")
    assert recording.damage == ""
    assert total(recording, "node") == pytest.approx(node.ledger.measured.sum(), rel=1e-12)
    rest = total(recording, "idle") + total(recording, "unattributed")
    for level in ("process", "container"):
        assert total(recording, level) + rest == pytest.approx(total(recording, "node"), rel=1e-9)
        seconds = float(node.ledger.levels[level].total()[-2])
        assert total(recording, level, "cpu_seconds") == pytest.approx(seconds, rel=1e-9)
    eleven = recording.level("process").filter(pa.compute.equal(recording.level("process")["pid"], 11))
    assert sum(eleven["joules"].drop_null().to_pylist()) == pytest.approx(node.process(11), rel=1e-9)
    assert set(eleven["name"].to_pylist()) == {"p11"}
    assert set(eleven["container_id"].to_pylist()) == {"c11"}
    assert recording.rules["hyperthread_ratio"] == 1.1
    assert recording.info == {"node": "fake"}


def test_weights_are_recorded_too(tmp_path: Path) -> None:
    record(tmp_path / "a")
    recording = read(tmp_path / "a")
    assert total(recording, "process", "shared_ns") == pytest.approx((FRAMES * 2 + 100) * 1e5)
    assert total(recording, "domain") == pytest.approx(total(recording, "node"))


def test_names_that_come_after_the_last_frame_are_told_too(tmp_path: Path) -> None:
    node = Node(DOMAINS, packages=1)
    recorder = Recorder(tmp_path / "a", node.sampler, node.kernel, {})
    node.kernel.run(10, 10, 0, 10**6)
    recorder.add(node.tick(np.array([3.0, 0.5])), 10**18)
    recorder.flush()
    row = node.table.rows[node.number(10)]
    row.workload = replace(row.workload, container="web", pod="shop-0", namespace="shop")
    recorder.close()
    *_, last = read(tmp_path / "a").level("container").to_pylist()
    assert (last["container_id"], last["name"], last["pod"], last["namespace"]) == ("c10", "web", "shop-0", "shop")
    assert (last["frame"], last["joules"], last["there"]) == (0, None, None)


def test_a_row_that_is_another_processs_in_the_same_batch_is_told_apart(tmp_path: Path) -> None:
    node = Node(DOMAINS, packages=1, rows=2)  # the overflow row, and one
    recorder = Recorder(tmp_path / "a", node.sampler, node.kernel, {})
    for tgid in (10, 11):
        node.kernel.run(tgid, tgid, 0, 10**6)
        node.kernel.kill(tgid)
        for _ in range(3):  # a row is given back after the sample behind that in which its process ended
            recorder.add(node.tick(np.array([3.0, 0.5])), 10**18)
    recorder.close()
    lines = read(tmp_path / "a").level("process").to_pylist()
    told = [(one["row"], one["pid"], one["name"], one["container_id"]) for one in lines if one["cpu_seconds"]]
    assert told == [(1, 10, "p10", "c10"), (1, 11, "p11", "c11")]


def test_lines_stand_in_the_order_of_frames(tmp_path: Path) -> None:
    record(tmp_path / "a")
    frames = read(tmp_path / "a").table["frame"].to_pylist()
    assert frames == sorted(frames)


def test_pandas_like_readers_need_nothing_of_ours(tmp_path: Path) -> None:
    record(tmp_path / "a")
    with pa.ipc.open_stream((tmp_path / "a").open("rb")) as stream:
        table = stream.read_all()
    assert table.column_names == [name for name, _, _ in COLUMNS]
    assert table["end"][0].as_py().year == 2023


def test_pandas_is_asked_for_nothing() -> None:
    """It is no dependency of ours. Up to pyarrow 22 at least ``DataType.to_pandas_dtype`` imports it: unseen where it
    is installed, as it is for these tests."""
    sources = Path(kepler_ebpf.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if re.search(r"\._?(to|from|read)_pandas\w*\(", path.read_text())] == []


def test_what_was_written_before_a_crash_reads(tmp_path: Path) -> None:
    record(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    frames = []
    for length in range(len(whole) - 1, len(whole) // 3, -len(whole) // 17):
        (tmp_path / "b").write_bytes(whole[:length])
        recording = read(tmp_path / "b")
        assert recording.damage == "" or "damaged at byte" in recording.damage
        frames.append(len(set(recording.table["frame"].to_pylist())))
    assert frames == sorted(frames, reverse=True)
    assert frames[0] >= FRAMES - 10
    assert frames[-1] >= 10


def test_a_turned_bit_is_found_with_its_place(tmp_path: Path) -> None:
    record(tmp_path / "a")
    whole = bytearray((tmp_path / "a").read_bytes())
    good, middle = read(tmp_path / "a"), len(whole) // 2
    for position in range(middle, middle + 3000, 61):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "b").write_bytes(damaged)
        recording = read(tmp_path / "b")
        intact = recording.table.num_rows == good.table.num_rows
        assert intact or "damaged at byte" in recording.damage
        assert total(recording, "node") <= total(good, "node") + 1e-9


def test_a_turned_bit_in_a_length_is_no_lack_of_memory(tmp_path: Path) -> None:
    """Lengths of messages and of columns are in the first bytes of a batch: petabytes, where a high bit turns."""
    record(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    whole_rows = read(tmp_path / "a").table.num_rows
    with (tmp_path / "a").open("rb") as file:
        pa.ipc.open_stream(file)
        begin = file.tell()
    for position in range(begin, begin + 64):
        damaged = bytearray(whole)
        damaged[position] ^= 0xC0
        (tmp_path / "b").write_bytes(damaged)
        recording = read(tmp_path / "b")
        assert recording.table.num_rows == whole_rows or f"damaged at byte {begin}" in recording.damage, position
        assert "malloc" not in recording.damage


@pytest.mark.parametrize("error", [MemoryError(), pa.ArrowMemoryError("malloc of size 4096 failed")])
def test_too_little_memory_is_no_damage(error: MemoryError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def checksum(batch: object) -> bytes:
        raise error

    record(tmp_path / "a")
    monkeypatch.setattr(schema, "checksum", checksum)
    with pytest.raises(MemoryError):
        read(tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PAR1 no arrow", b"#!/bin/sh\nexit 0\n"])
def test_what_is_no_recording_is_said_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(KeplerError, match="is no recording") as error:
        read(tmp_path / "x")
    assert "\n" not in str(error.value)


def test_another_arrow_stream_is_no_recording_of_ours(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    with (tmp_path / "x").open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(KeplerError, match="no version"):
        read(tmp_path / "x")


def test_a_full_disk_is_one_line_and_what_is_written_stays() -> None:
    with pytest.raises(KeplerError, match=r"cannot write /dev/full: No space left on device"):
        record(Path("/dev/full"))


def test_a_disk_that_fills_up_leaves_what_was_written_whole(tmp_path: Path) -> None:
    record(tmp_path / "whole")
    size = (tmp_path / "whole").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(KeplerError, match=r"cannot write .*/a: File too large$"):
            record(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    recording = read(tmp_path / "a")
    assert recording.damage == ""
    assert 30 <= len(set(recording.table["frame"].to_pylist())) < FRAMES


def test_what_is_said_to_be_written_is_what_the_file_holds(tmp_path: Path) -> None:
    node = Node(DOMAINS, packages=1)
    recorder = Recorder(tmp_path / "a", node.sampler, node.kernel, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with suppress(KeplerError):
            for _ in range(1000):
                recorder.add(node.tick(np.array([3.0, 0.5])), 10**18)
    finally:
        with suppress(KeplerError):
            recorder.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    table, said = read(tmp_path / "a").table, recorder.progress
    assert 10 <= said.frames < 1000
    assert (said.frames, said.lines) == (len(set(table["frame"].to_pylist())), table.num_rows)
    assert said.bytes == (tmp_path / "a").stat().st_size


def test_a_file_is_not_touched_before_there_is_a_frame(tmp_path: Path) -> None:
    node = Node(DOMAINS, packages=1)
    (tmp_path / "a").write_bytes(b"an older recording" * 1000)
    for name in ("a", "b"):
        Recorder(tmp_path / name, node.sampler, node.kernel, {}).close()
    assert (tmp_path / "a").read_bytes() == b"an older recording" * 1000
    assert not (tmp_path / "b").exists()
    record(tmp_path / "a")
    assert read(tmp_path / "a").damage == ""


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeplerError, match="cannot write"):
        record(tmp_path / "missing" / "a")


def test_a_turned_bit_in_the_header_is_told(tmp_path: Path) -> None:
    """A digit of the rules is another digit: still JSON, and other energy when it is attributed again."""
    record(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    place = whole.index(b'"packages": 1') + len(b'"packages": ')
    (tmp_path / "b").write_bytes(whole[:place] + b"3" + whole[place + 1 :])
    with pytest.raises(KeplerError, match="its header is damaged"):
        read(tmp_path / "b")
