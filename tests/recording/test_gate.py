"""What no recorder writes, under checksums that are right, is damage: one line, whatever is asked of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kepler_ebpf.cli import run
from kepler_ebpf.recording import schema
from kepler_ebpf.recording.reader import read
from tests.report.runs import STORMY, Recorded, storm

pa = pytest.importorskip("pyarrow")

ASKED: tuple[tuple[str, ...], ...] = (
    (),
    ("--svg", "/dev/null"),
    ("--html", "/dev/null"),
    ("--csv", "/dev/null", "--frames"),
    ("--idle-policy", "equal"),
    ("--idle-policy", "requests"),
)
NAN, INFINITE = float("nan"), float("inf")
YEAR_10000_US = 253_402_300_800_000_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The lines of a recording in which all there is happens: a table, with its header."""
    path = tmp_path_factory.mktemp("gate") / "storm"
    machine = Recorded(path, STORMY, packages=2)
    storm(machine, 1, 30)
    machine.close()
    with path.open("rb") as file:
        metadata = pa.ipc.open_stream(file).schema.metadata
    return read(path).table.replace_schema_metadata(metadata)


def write(path: Path, table: Any, **header: bytes) -> None:
    """As a recorder would. ``header``: ``rules`` and ``info``, where others."""
    told = dict(table.schema.metadata)
    told.update({getattr(schema, f"{name.upper()}_KEY"): text for name, text in header.items()})
    told[schema.CHECKSUM_KEY] = schema._header_checksum(told)
    form = table.schema.with_metadata(told)
    batches = table.replace_schema_metadata(told).combine_chunks().unify_dictionaries().to_batches()
    with path.open("wb") as file, pa.ipc.new_stream(file, form) as stream:
        for batch in batches:
            stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(batch)})


def altered(table: Any, column: str, change: Callable[[Any], Any], *levels: str) -> Any:
    """With another value in a column wherever there is one, in the lines of these levels, or of all."""
    position, form = table.schema.get_field_index(column), table.schema.field(column)
    is_time = pa.types.is_timestamp(form.type)
    values = (table[column].cast("int64") if is_time else table[column]).to_pylist()
    level = table["level"].to_pylist()
    values = [
        change(value) if value is not None and (not levels or level[k] in levels) else value
        for k, value in enumerate(values)
    ]
    made = pa.array(values, pa.int64()).cast(form.type) if is_time else pa.array(values, form.type)
    return table.set_column(position, form, made)


def without(table: Any, level: str) -> Any:
    return table.filter(pa.compute.not_equal(table["level"].cast("string"), level))


def assert_shown_or_one_line(path: Path, capsys: pytest.CaptureFixture[str], is_damaged: bool) -> None:
    for asked in ASKED:
        code = run(["report", str(path), *asked], {})
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == ((1, 1) if is_damaged else (0, 0)), (asked, error)
        assert "damaged" in error or not is_damaged


def constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


LINES: tuple[tuple[str, Callable[[Any], Any], tuple[str, ...]], ...] = (
    ("frame", constant(2**32 - 1), ()),
    ("frame", constant(2**32 - 1), ("process",)),
    ("frame", constant(2**32 - 1), ("domain",)),
    ("frame", constant(None), ("process",)),
    ("frame", lambda frame: 1000 - frame, ()),
    ("frame", lambda frame: frame + 1, ()),
    ("frame", lambda frame: frame // 2, ("node",)),
    ("row", constant(-5), ()),
    ("row", constant(2**31 - 1), ("container",)),
    ("row", constant(None), ("process",)),
    ("package", constant(-7), ()),
    ("package", constant(2), ("process",)),
    ("package", constant(None), ("container",)),
    ("package", constant(32767), ("domain",)),
    ("end", constant(2**63 - 1), ()),
    ("end", constant(-(2**63)), ()),
    ("end", constant(YEAR_10000_US), ()),
    ("end", constant(None), ()),
    ("start_ns", constant(2**64 - 1), ()),
    ("level", constant(None), ()),
    ("level", constant("nobody"), ("idle",)),
    ("seconds", constant(None), ()),
    ("seconds", constant(0.0), ()),
    *(
        (name, constant(value), ())
        for name in ("seconds", "joules", "gpu_joules", "watts", "cpu_seconds", "read_seconds", "alone_ns", "cycles")
        for value in (NAN, INFINITE, -1e300, 1e308)
    ),
    ("floor_watts", constant(INFINITE), ()),
    ("watts", constant(5e-324), ()),
)


@pytest.mark.parametrize(("column", "change", "levels"), LINES)
def test_lines_that_cannot_be_are_damage(
    column: str,
    change: Callable[[Any], Any],
    levels: tuple[str, ...],
    whole: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "a", altered(whole, column, change, *levels))
    assert_shown_or_one_line(tmp_path / "a", capsys, True)


def test_lines_that_are_missing_are_damage_or_nothing_at_all(
    whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for level in schema.LEVELS:
        write(tmp_path / level, without(whole, level))
        if level in schema.LEVELS[:3]:
            assert_shown_or_one_line(tmp_path / level, capsys, True)
            continue
        for asked in ASKED:
            code = run(["report", str(tmp_path / level), *asked], {})
            error = capsys.readouterr().err
            assert error.count("\n") == code, error
            assert code == 0 or "damaged" in error


def test_what_no_meter_tells_the_time_of_is_shown(
    whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a", altered(whole, "component", constant("warp drive")))
    assert_shown_or_one_line(tmp_path / "a", capsys, False)


def test_damage_in_a_later_batch_leaves_those_before_it(whole: Any, tmp_path: Path) -> None:
    half = whole.filter(pa.compute.less(whole["frame"], 10))
    rest = whole.filter(pa.compute.greater_equal(whole["frame"], 10))
    for bad in (half, altered(rest, "joules", constant(NAN)), whole):
        with (tmp_path / "a").open("wb") as file, pa.ipc.new_stream(file, whole.schema) as stream:
            for table in (half, bad):
                for batch in table.combine_chunks().to_batches():
                    stream.write_batch(batch, custom_metadata={schema.CHECKSUM_KEY: schema.checksum(batch)})
        recording = read(tmp_path / "a")
        assert recording.table.num_rows == half.num_rows
        assert f"{tmp_path}/a: damaged at byte " in recording.damage


def changed(**rules: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda before: json.dumps({**before, **rules}).encode()


RULES: tuple[Callable[[dict[str, Any]], bytes], ...] = (
    *(lambda _, text=text: text for text in (b"null", b"[]", b'"x"', b"{}", b"[" * 100_000, b"7")),
    lambda before: json.dumps({**before, "more": 1}).encode(),
    *(changed(hyperthread_ratio=ratio) for ratio in (None, "abc", NAN, INFINITE, 10**400, 0.5, True)),
    lambda before: json.dumps(before).replace("1.1", "1e400").encode(),
    *(changed(packages=packages) for packages in (-1, 0, 10**9, "x", None, 1)),
    changed(overflow={}),
    changed(overflow=[]),
    changed(overflow={"process": [0, 0, 0]}),
    changed(overflow={"process": [10**9] * 3, "container": [0] * 3}),
    *(changed(idle_policy=policy) for policy in (["equal"], "fair", None)),
    changed(by_cycles="yes"),
)


@pytest.mark.parametrize("make", RULES)
def test_rules_that_cannot_be_are_a_damaged_header(
    make: Callable[[dict[str, Any]], bytes], whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a", whole, rules=make(json.loads(whole.schema.metadata[schema.RULES_KEY])))
    assert_shown_or_one_line(tmp_path / "a", capsys, True)


@pytest.mark.parametrize("info", [b"null", b"[]", b"7", b'{"node": 5}', b'{"cpu_model": {"a": 1}}', b"[" * 100_000])
def test_facts_that_are_no_text_are_a_damaged_header(
    info: bytes, whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a", whole, info=info)
    assert_shown_or_one_line(tmp_path / "a", capsys, True)


def test_a_dictionary_without_a_word_is_damage(whole: Any, tmp_path: Path) -> None:
    batch = whole.combine_chunks().to_batches()[0]
    position = batch.schema.get_field_index("namespace")
    words = pa.array([None] * max(len(batch.column(position).dictionary), 1), pa.utf8())
    columns = [*batch.columns]
    columns[position] = pa.DictionaryArray.from_arrays(batch.column(position).indices, words)
    with (tmp_path / "a").open("wb") as file, pa.ipc.new_stream(file, whole.schema) as stream:
        stream.write_batch(pa.record_batch(columns, schema=batch.schema), custom_metadata={schema.CHECKSUM_KEY: b"0"})
    assert "a word is missing" in read(tmp_path / "a").damage


def test_what_a_recorder_wrote_passes(whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", whole)
    assert_shown_or_one_line(tmp_path / "a", capsys, False)
