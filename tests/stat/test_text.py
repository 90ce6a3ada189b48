"""What is printed and written, of runs that are known."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shlex

import numpy as np
import pytest

from kepler_ebpf.stat import export, text
from kepler_ebpf.stat.text import Measured, amount
from kepler_ebpf.stat.usage import Usage

NAN = math.nan


def usage(joules: float = 12.0, seconds: float = 2.0, dram: float = NAN, **others: object) -> Usage:
    def column(package: float, memory: float) -> np.ndarray:
        return np.array([package, memory if dram == dram else NAN, NAN])

    figures = {"cpu_seconds": 1.5, "cycles": 4.5e9, "peak_watts": 9.0, "samples": 200, "late": 3, "status": 0}
    return Usage(
        joules=column(joules, dram),
        others=column(3.0, 0.5),
        idle=column(8.0, 1.0),
        unattributed=column(0.0, 0.0),
        whole=column(joules + 11.0, dram + 1.5),
        elapsed_seconds=seconds,
        **{**figures, **others},  # type: ignore[arg-type]
    )


def test_the_table_sums_and_says_what_was_used() -> None:
    assert "\n".join(text.report(Measured("make -j2", [usage(dram=2.0)]))) == (
        """
 Energy of 'make -j2':

                        package         DRAM        total     share
  this                  12.00 J      2.000 J      14.00 J    52.8 %
  others                3.000 J     500.0 mJ      3.500 J    13.2 %
  idle                  8.000 J      1.000 J      9.000 J    34.0 %
  whole                 23.00 J      3.500 J      26.50 J   100.0 %

        14.00 J  energy
        7.000 W  mean power
        9.000 W  peak power   # highest of 200 samples, 3 missed
        1.500 s  CPU time   # 0.750 CPUs in use
        4.500 G  cycles   # 3.00 GHz
      9.333 J/s  joules per CPU second
      28.00 J·s  energy-delay product
        2.000 s  elapsed
"""
    )


def test_a_run_without_a_meter_has_no_joules() -> None:
    nothing = np.full(3, NAN)
    one = usage(NAN, cycles=NAN, peak_watts=NAN)
    one = Usage(**{**vars(one), **dict.fromkeys(("joules", "others", "idle", "unattributed", "whole"), nothing)})
    said = "\n".join(text.report(Measured("x", [one])))
    assert "  this            <not counted>   # no meter told any energy meanwhile" in said
    assert [line.strip() for line in said.splitlines() if "energy" in line.split("  ")] == ["<not counted>  energy"]
    assert " 1.500 s  CPU time" in said
    assert "0.000 J" not in said
    (run,) = json.loads(export.as_json([Measured("x", [one])], {}))["targets"][0]["runs"]
    assert run["joules"] is None
    assert run["cpu_seconds"] == 1.5


def test_repeated_runs_show_their_spread_and_what_is_odd() -> None:
    runs = [usage(12.0 + 0.01 * number) for number in range(9)] + [usage(20.0)]
    said = "\n".join(text.report(Measured("x", runs)))
    assert "(10 runs, mean ± σ):" in said
    assert "12.84 J  ± 19.61 %  energy" in said
    assert " Outliers: run 10 with 20.00 J." in said


@pytest.mark.parametrize(
    ("factor", "runs", "verdict"),
    [
        (2.0, 20, "'b' uses 100.0 % more energy: that is not chance."),
        (0.5, 20, "'b' uses 50.0 % less energy: that is not chance."),
        (1.0, 20, "No difference in energy can be told from chance"),
        (2.0, 3, "3 pairs of runs are too few to compare energy"),
        (2.0, 1, "1 pair of runs is too few to compare energy"),
        (NAN, 20, "Their energy cannot be compared"),
    ],
)
def test_a_comparison_ends_with_a_verdict(factor: float, runs: int, verdict: str) -> None:
    wobble = [1 + 0.01 * (number % 5) for number in range(runs)]
    first = Measured("a", [usage(12 * one) for one in wobble])
    second = Measured("b", [usage(12 * factor * one) for one in reversed(wobble)])
    assert verdict in "\n".join(text.compare(first, second))


def test_csv_has_a_line_a_run_and_names_its_columns() -> None:
    lines = list(csv.DictReader(io.StringIO(export.as_csv([Measured("a, 'b'", [usage(), usage(13.0, status=-9)])]))))
    assert [line["target"] for line in lines] == ["a, 'b'"] * 2
    assert [line["run"] for line in lines] == ["1", "2"]
    assert [line["status"] for line in lines] == ["0", "-9"]
    assert [float(line["joules"]) for line in lines] == [12.0, 13.0]
    assert lines[0]["dram_joules"] == ""
    parts = ("package_joules", "others_package_joules", "idle_package_joules", "unattributed_package_joules")
    assert sum(float(lines[0][part]) for part in parts) == float(lines[0]["whole_package_joules"])


def test_json_has_what_was_compared() -> None:
    measured = [Measured(name, [usage(12.0 + k + n / 10) for n in range(8)]) for k, name in enumerate("ab")]
    document = json.loads(export.as_json(measured, {"power_source": "rapl-powercap"}))
    assert document["version"] == 1
    assert document["power_source"] == "rapl-powercap"
    assert len(document["targets"][0]["runs"]) == 8
    found = document["ratio_of_second_to_first"]["joules"]
    assert found["low"] <= found["estimate"] <= found["high"]
    assert found["is_significant"] is True
    assert document["targets"][0]["summary"]["joules"]["mean"] == pytest.approx(12.35)


def test_markdown_is_a_table() -> None:
    head, rule, row = export.as_markdown([Measured("make", [usage(), usage(13.0)])]).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| `make` | 12.50 J ± 707.1 mJ | 6.250 W ± 353.6 mW | ")


LONG = "python3 -m benchmark --input data/very/long/path/to/some/data/set --seed "


def test_long_commands_are_told_apart_in_files_and_cut_on_the_screen() -> None:
    commands = [["sh", "-c", f"{LONG}{seed}"] for seed in (1, 2)]
    measured = [Measured(text.shown(command), [usage()], command) for command in commands]
    titles = [f"sh -c '{LONG}{seed}'" for seed in (1, 2)]
    targets = json.loads(export.as_json(measured, {}))["targets"]
    assert [target["title"] for target in targets] == titles
    assert [target["command"] for target in targets] == commands
    assert [line["target"] for line in csv.DictReader(io.StringIO(export.as_csv(measured)))] == titles
    assert all(title in row for title, row in zip(titles, export.as_markdown(measured).splitlines()[2:]))
    said = "\n".join([*text.report(measured[0]), *text.compare(*measured), *text.said_of(measured[0], str)])
    assert f"Energy of '{measured[0].title[:59]}…':" in said
    assert measured[0].title not in said
    assert titles[0] not in said


@pytest.mark.parametrize("other", [["echo", "a", "b"], ["echo", "a b"], ["echo", "a  b"]])
def test_the_two_that_are_compared_are_told_apart_in_files_whatever_they_are_called(other: list[str]) -> None:
    commands = [["echo", "a", "b"], other]
    measured = [Measured(text.shown(command), [usage()], command) for command in commands]
    lines = list(csv.DictReader(io.StringIO(export.as_csv(measured))))
    assert [line["target_number"] for line in lines] == ["1", "2"]
    assert [shlex.split(line["target"]) for line in lines] == commands
    assert f"| `{shlex.join(other)}` |" in export.as_markdown(measured).splitlines()[-1]


def test_what_is_watched_has_no_command() -> None:
    (target,) = json.loads(export.as_json([Measured("cgroup /a", [usage()])], {}))["targets"]
    assert (target["title"], target["command"]) == ("cgroup /a", None)


def test_whatever_the_command_is_all_outputs_are_utf_8_that_no_terminal_obeys() -> None:
    command = ["printf", os.fsdecode(b"\xff\xfe"), "\x1b[31mred", "two\nlines", "\x9b2J\x7f", "é"]
    measured = [Measured(text.shown(command), [usage()], command)]
    outputs = export.as_json(measured, {}), export.as_csv(measured), export.as_markdown(measured)
    for output in (*outputs, *text.report(measured[0])):
        output.encode("utf-8")
        assert "\x1b" not in output
    for output in (*outputs[1:], *text.report(measured[0])):
        assert all(one.isprintable() or one == "\n" for one in output)
    (target,) = json.loads(outputs[0])["targets"]
    assert target["title"] == "printf '??' '?[31mred' 'two lines' '?2J?' 'é'"
    assert measured[0].title == "printf ?? ?[31mred two lines ?2J? é"
    assert target["command"] == ["printf", "??", *command[2:]]


@pytest.mark.parametrize(
    ("command", "cell"),
    [
        ("a | b || c", r"`a \| b \|\| c`"),
        ("echo `date` | cat", r"``echo `date` \| cat``"),
        ("`a``b`", "``` `a``b` ```"),
        (r"grep 'a\|b'", r"`grep 'a\\|b'`"),
    ],
)
def test_any_command_is_one_cell_of_a_markdown_table(command: str, cell: str) -> None:
    head, _, row = export.as_markdown([Measured(command, [usage()])]).splitlines()
    assert row.startswith(f"| {cell} | 12.00 J | ")
    assert len(re.split(r"(?<!\\)\|", row)) == len(head.split("|"))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0.000 J"), (12.345, "12.35 J"), (0.0012, "1.200 mJ"), (3.2e-8, "0.032 µJ"), (123456.0, "123.5 kJ")],
)
def test_amounts_have_four_digits_and_a_prefix(value: float, said: str) -> None:
    assert amount(value, "J") == said


def test_how_runs_ended_is_said() -> None:
    said = list(
        text.said_of(Measured("x", [usage(), usage(status=2), usage(left=2)]), lambda status: f"ended {status}")
    )
    assert said == [
        "1 of 3 runs of 'x' failed: one ended 2",
        "'x' left 2 process(es) running: what they use after its end is not in here",
    ]
