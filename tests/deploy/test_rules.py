"""What Prometheus loads: rule files by their unit tests, scrape configurations."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.overlays import DEPLOY, endpoint, render, snake
from tests.needs import require

PROMETHEUS = DEPLOY / "prometheus"
UNIT_TESTS = Path(__file__).with_name("promtool")


def promtool(*arguments: object) -> None:
    require(shutil.which("promtool"), "promtool is not installed")
    answer = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", sorted(UNIT_TESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_rules_say_what_their_unit_tests_expect(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("*.yaml")), ids=lambda path: path.stem)
def test_rules_are_valid(path: Path) -> None:
    promtool("check", "rules", path)


def test_every_rule_has_a_unit_test() -> None:
    tests = "".join(path.read_text() for path in UNIT_TESTS.glob("*.yaml"))
    untested = {
        rule.get("record") or rule["alert"]
        for path in PROMETHEUS.glob("kepler-*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if path.stem != "kepler-parameters" and (rule.get("record") or rule["alert"]) not in tests
    }
    # What others are made of.
    assert untested <= {"kepler_node_cpu_joules_total"}


SCRAPES = sorted(path for path in PROMETHEUS.glob("*.yml") if "scrape_configs" in path.read_text())


@pytest.mark.parametrize("path", SCRAPES, ids=lambda path: path.stem)
def test_prometheus_takes_the_scrape_configurations(path: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "kepler"
    assert job["honor_labels"] is True
    # Debian's Prometheus is built without discovery in Kubernetes.
    if job.pop("kubernetes_sd_configs", None):
        job["static_configs"] = [{"targets": ["localhost:9102"]}]
    copy = tmp_path / path.name
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    copy.write_text(yaml.safe_dump(config))
    promtool("check", "config", copy)


def scrape(name: str) -> dict[str, Any]:
    (job,) = yaml.safe_load((PROMETHEUS / name).read_text())["scrape_configs"]
    return dict(job)


def test_both_ways_into_prometheus_give_the_same_labels() -> None:
    ours = snake(endpoint("privileged")["relabelings"])
    operators = [
        {"action": "replace", "target_label": "job", "replacement": "kepler"},
        {"action": "labeldrop", "regex": "pod|container|namespace|service|endpoint"},
    ]
    assert [*scrape("prometheus-kubernetes.yml")["relabel_configs"][1:], *operators] == ours
    assert (
        snake(endpoint("kepler-0.9")["metricRelabelings"]) == scrape("kepler-0.9-scrape.yml")["metric_relabel_configs"]
    )


def test_the_compatibility_overlay_changes_nothing_else_of_the_monitor() -> None:
    changed = endpoint("kepler-0.9")
    del changed["metricRelabelings"]
    assert changed == endpoint("privileged")


def test_the_operators_rules_are_selected_with_the_rest() -> None:
    rules = [document for document in render(DEPLOY / "k8s") if document["kind"] == "PrometheusRule"]
    assert [rule["metadata"]["name"] for rule in rules] == ["kepler-alerts", "kepler-parameters", "kepler-rules"]


def test_the_pages_line_for_boards_that_name_another_job(tmp_path: Path) -> None:
    board = tmp_path / "power-monitor-overview.json"
    board.write_text(json.dumps({"expr": 'sum(a{job="power-monitor", zone="b"})', "uid": "power-monitor"}))
    (line,) = re.findall(r"`(sed [^`]+)`", (DEPLOY.parent / "docs/prometheus.md").read_text())
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    assert json.loads(board.read_text()) == {"expr": 'sum(a{job="kepler", zone="b"})', "uid": "power-monitor"}
