"""Every option: flag over variable over default; bad values end in one line that names them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.config import GROUPS, HOST, OPTIONS, Config, add_flags, from_arguments
from kepler_ebpf.errors import UsageError
from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.options import parse_duration


def parse(flags: list[str], environment: dict[str, str]) -> Config:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_arguments(parser.parse_args(flags), environment)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("1m", 60), ("1m30s", 90), ("0.5s", 0.5), ("10ms", 0.01), ("1h", 3600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1 s", "1s garbage", "1d", "1e3s", "٣s", "1s\n", "0x10ms", "1,5s", "1h1h", "30s1m"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize("text", ["١٠٢٤٠", "1_024_0", " 10240", "10240\n", "+10240", "１０２４０", "²", "0x2800"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("ROWS", "{}"),
        ("MAX_PROCESS_SERIES", "{}"),
        ("PROCESS_METRICS", "{}"),
        ("IDLE_WATTS", "{}.5"),
        ("HYPERTHREAD_RATIO", "1.{}"),
        ("CPU_BUDGET", "{}e-4%"),
        ("EXIT_HOLD", "{}ms"),
    ],
)
def test_numbers_are_ascii_digits_alone(name: str, form: str, text: str) -> None:
    parse([], {f"KEPLER_{name}": form.format("10240")})
    with pytest.raises(UsageError, match=f"KEPLER_{name}"):
        parse([], {f"KEPLER_{name}": form.format(text)})


@given(st.text(max_size=12))
def test_garbage_is_refused_in_one_line(text: str) -> None:
    try:
        config = parse([], {"KEPLER_SAMPLE_INTERVAL": text})
    except UsageError as error:
        assert "KEPLER_SAMPLE_INTERVAL" in str(error)
        assert repr(text) in str(error)
        assert "\n" not in str(error)
        assert error.exit_code == 2
    else:
        assert 0.01 <= config.sample_interval <= 60


def test_namespaces() -> None:
    assert parse(["--namespaces", " shop , kube-system,7"], {}).namespaces == {"shop", "kube-system", "7"}


def test_defaults() -> None:
    config = parse([], {})
    assert (config.sample_interval, config.metrics_interval, config.listen) == (0.1, 5.0, ":9102")
    assert (config.process_metrics, config.idle_policy, config.rows, config.cpu_budget) == (100, "none", 32768, 0.05)


def test_flag_over_variable_over_default() -> None:
    environment = {"KEPLER_METRICS_INTERVAL": "30s", "KEPLER_SAMPLE_INTERVAL": "1s"}
    config = parse(["--sample-interval", "10ms"], environment)
    assert (config.sample_interval, config.metrics_interval) == (0.01, 30.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAMPLE_INTERVAL", "1ms"),
        ("SAMPLE_INTERVAL", "61s"),
        ("METRICS_INTERVAL", "fast"),
        ("PROCFS", "/nowhere"),
        ("PROCFS", ""),
        ("SYSFS", ""),
        ("CGROUPFS", ""),
        ("CGROUPFS", "/nowhere"),
        ("STATE_DIRECTORY", "/nowhere"),
        ("PROCESS_METRICS", "-3"),
        ("PROCESS_METRICS", "some"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("IDLE_POLICY", "fair"),
        ("ROWS", "1e3"),
        ("ROWS", "10"),
        ("ROWS", "4194304"),
        ("HYPERTHREAD_RATIO", "nan"),
        ("CPU_BUDGET", "much"),
        ("WEB_CONFIG", "/nowhere/web.yml"),
        ("MODEL_IDLE_WATTS", "-5"),
        ("HWMON", "chip/label"),
        ("HWMON", "chip/(=package"),
        ("HWMON", "chip/label=fan"),
        ("NAMESPACES", ","),
        ("NAMESPACES", "shop-*"),
        ("NAMESPACES", "shop;bank"),
        ("NAMESPACES", "Shop"),
    ],
)
def test_bad_values_name_the_variable_the_value_and_what_would_do(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse([], {f"KEPLER_{name}": value})
    message = str(caught.value)
    assert message.startswith(f"KEPLER_{name}: {value!r} will not do: expected ")
    assert "\n" not in message


def test_a_bad_flag_is_named_as_a_flag() -> None:
    with pytest.raises(UsageError, match=r"^--sample-interval: '5' will not do"):
        parse(["--sample-interval", "5"], {})


def test_publication_cannot_be_more_frequent_than_samples() -> None:
    with pytest.raises(UsageError, match="KEPLER_METRICS_INTERVAL"):
        parse(["--sample-interval", "10s", "--metrics-interval", "1s"], {})


def test_help_names_every_variable_and_default_of_its_groups() -> None:
    for groups in (GROUPS, (HOST,)):
        parser = argparse.ArgumentParser()
        add_flags(parser, groups)
        text = " ".join(parser.format_help().split()).replace("- ", "-")
        for option in OPTIONS:
            assert (option.variable in text) == (option.group in groups)
            assert option.group not in groups or not option.default or f"default {option.default}" in text
        assert all(group in text for group in groups)


def test_every_option_is_in_a_group_that_is_shown() -> None:
    assert {option.group for option in OPTIONS} == set(GROUPS)


@pytest.mark.parametrize(("text", "limit"), [("all", 10_000), ("off", None), ("7", 7), ("20000", 10_000)])
def test_how_many_processes_are_shown(text: str, limit: int | None) -> None:
    assert parse(["--process-metrics", text], {}).process_limit == limit


def test_switches_are_booleans() -> None:
    config = parse(["--system-slices", "on"], {"KEPLER_KUBELET_VERIFY": "off"})
    assert (config.system_slices, config.kubelet_verify) == (True, False)


@pytest.mark.parametrize("name", ["PROCFS", "SYSFS", "CGROUPFS"])
def test_a_folder_where_nothing_is_mounted_is_refused(name: str, tmp_path: Path) -> None:
    for flags, environment in (([f"--{name.lower()}", str(tmp_path)], {}), ([], {f"KEPLER_{name}": str(tmp_path)})):
        with pytest.raises(UsageError, match="a folder that is not empty: nothing is mounted there"):
            parse(flags, environment)


def test_a_cgroupfs_that_is_named_is_the_only_one_looked_at(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    assert parse([], {}).fs == HostFS()
    assert parse([], {"KEPLER_CGROUPFS": "auto"}).fs.anywhere
    assert parse(["--cgroupfs", str(tmp_path)], {}).fs == HostFS(cgroup=tmp_path, anywhere=False)


@pytest.mark.parametrize("name", ["PROCFS", "WEB_CONFIG", "KUBELET_CA"])
def test_a_path_that_is_too_long_is_one_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse([], {f"KEPLER_{name}": "/" + "x" * 300})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", ["chip/(?P<x=package", "chip/a{99999999999}=dram", "chip/" + "(" * 5000 + "=dram"])
def test_a_rule_that_is_no_regular_expression_is_one_line(rule: str) -> None:
    with pytest.raises(UsageError, match="KEPLER_HWMON"):
        parse([], {"KEPLER_HWMON": rule})
