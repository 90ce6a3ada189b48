"""A real Prometheus with what we ship scrapes running collectors: every expression, ours and the guide's, answers."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from tests.deploy.overlays import DEPLOY
from tests.e2e import guide, others
from tests.e2e.conftest import Running, collectors
from tests.e2e.site import COMMAND, METERED, Prometheus, Result, site

pytestmark = pytest.mark.kernel

NOBODY_ELSE = re.compile(r"exported_(?!instance)")
NAMES = {"namespace", "pod", "container"}
# Absent by nature: there is nothing to see where all is well.
WHEN_ABSENT = re.compile(r"^absent\((.*)\)$")


@dataclass(frozen=True)
class Expression:
    """One, and its legend, where it has one."""

    where: str
    text: str
    template: str = ""

    @property
    def labels(self) -> set[str]:
        """Those that its legend names."""
        return set(re.findall(r"{{(\w+)}}", self.template))

    def concrete(self, chosen: dict[str, str] | None = None) -> str:
        """With Grafana's variables filled in, all or the ``chosen``, and a month as short as the test."""
        text = self.text.replace("$__rate_interval", "10s").replace("$__range", "1m").replace("[30d:1h]", "[1m:1s]")
        return re.sub(r"\$(node|namespace|pod)\b", lambda found: (chosen or {}).get(found[1], ".*"), text)

    def legend(self, labels: dict[str, str]) -> str:
        """As Grafana writes it."""
        return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), self.template)


def threshold_less(expression: str) -> str:
    """An alert's expression without the comparison that makes it an alert."""
    return re.split(r"\s(?:[<>=]=?|!=)\s", expression)[0]


def dashboards() -> Iterator[Expression]:
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        variables = dashboard["templating"]["list"]
        one_node = any(variable["name"] == "node" and not variable.get("multi") for variable in variables)
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$node", METERED) if one_node else target["expr"]
                where = f"{path.stem}: {panel['title']} {target['refId']}"
                yield Expression(where, text, target["legendFormat"] if panel["type"] != "table" else "")


def rules() -> Iterator[Expression]:
    for path in sorted((DEPLOY / "prometheus").glob("kepler-*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    yield Expression(f"{path.stem}: {rule['record']}", rule["record"])
                elif found := WHEN_ABSENT.match(rule["expr"]):
                    yield Expression(f"{path.stem}: {rule['alert']}, its opposite", found[1])
                else:
                    yield Expression(f"{path.stem}: {rule['alert']}", threshold_less(rule["expr"]))


def documented() -> Iterator[Expression]:
    """What docs/prometheus.md offers in place of the guide's examples, and beside them."""
    text = (DEPLOY.parent / "docs/prometheus.md").read_text()
    for span in re.findall(r"`([^`\n]+)`", text):
        if "kepler" in span and ("[" in span or "increase1h" in span) and span not in guide.EXPRESSIONS:
            yield Expression(f"docs: {span}", span)


EXPRESSIONS = (
    *(Expression(f"guide: {text}", text) for text in guide.EXPRESSIONS),
    *(Expression(f"guide: {name}", threshold_less(text)) for name, text in guide.ALERTS.items()),
    *documented(),
    *rules(),
    *dashboards(),
)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Prometheus, Running]]:
    place = tmp_path_factory.mktemp("site")
    with collectors(place, COMMAND) as start, site(place, start) as (server, collector):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            time.sleep(1)
            if server.query('rate(kepler_container_joules_total{container="app"}[5s]) > 0') and server.query(
                "kepler_container_other_joules_total > 0"
            ):
                break
        time.sleep(5)
        yield server, collector


@pytest.fixture(scope="module")
def answers(world: tuple[Prometheus, Running]) -> dict[str, Result]:
    server, _ = world
    return {expression.where: server.query(expression.concrete()) for expression in EXPRESSIONS}


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.where)
def test_every_expression_returns_data(expression: Expression, answers: dict[str, Result]) -> None:
    answer = answers[expression.where]
    assert answer, expression.concrete()
    for series in answer:
        labels = series["metric"]
        assert not NOBODY_ELSE.search(str(labels)), "a workload's labels were renamed"
        assert not math.isnan(float(series["value"][1])), labels
        nameless = set() if "pod" in labels else NAMES  # the host's own, and containers beside Kubernetes
        assert expression.labels - nameless <= labels.keys(), "the legend has a hole"
    if expression.labels:
        assert any(expression.labels <= series["metric"].keys() for series in answer)
        legends = [expression.legend(series["metric"]) for series in answer]
        assert len(set(legends)) == len(legends), "two lines of one name"


@pytest.mark.parametrize(
    ("who", "name", "labels"),
    [(who, name, labels) for who, names in others.ASKED.items() for name, labels in names.items()],
)
def test_names_of_others_answer_by_the_labels_that_are_asked_for(
    who: str, name: str, labels: tuple[str, ...], world: tuple[Prometheus, Running]
) -> None:
    series = [one["metric"] for one in world[0].query(f"group by ({', '.join(labels)}) ({name})")]
    assert any(set(labels) == one.keys() for one in series), f"{who}: {series}"


@pytest.mark.parametrize("name", others.LEFT_OUT)
def test_what_is_left_out_is_not_there_and_the_page_says_so(name: str, world: tuple[Prometheus, Running]) -> None:
    assert not world[0].query(name)
    assert f"`{name}`" in (DEPLOY.parent / "docs/prometheus.md").read_text()


def test_the_hosts_own_under_the_names_of_kepler_0_9(world: tuple[Prometheus, Running]) -> None:
    (own,) = world[0].query('kepler_container_joules_total{container_name="system_processes",node="worker-1"}')
    names = {"container": "system", "pod_name": "system_processes", "container_namespace": "system"}
    assert own["metric"].items() >= names.items()


CHOSEN = {"node": METERED, "namespace": "shop", "pod": "web-0"}
FILTERED = [expression for expression in EXPRESSIONS if re.search(r"\$(node|namespace|pod)\b", expression.text)]


@pytest.mark.parametrize("expression", FILTERED, ids=lambda expression: expression.where)
def test_a_choice_in_grafana_leaves_what_was_chosen(expression: Expression, world: tuple[Prometheus, Running]) -> None:
    used = {name: value for name, value in CHOSEN.items() if f"${name}" in expression.text}
    answer = world[0].query(expression.concrete(used))
    assert answer, expression.concrete(used)
    for series in answer:
        assert {name: series["metric"].get(name, value) for name, value in used.items()} == used


def test_no_rule_fails(world: tuple[Prometheus, Running]) -> None:
    found = [rule for group in world[0].get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    assert len(found) == sum(
        len(group["rules"])
        for path in (DEPLOY / "prometheus").glob("kepler-*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
    )


def test_the_guides_alerts_and_panels_are_ours() -> None:
    ours = yaml.safe_load((DEPLOY / "k8s/kepler-alerts.yaml").read_text())
    alerts = {rule["alert"]: rule["expr"] for group in ours["spec"]["groups"] for rule in group["rules"]}
    assert guide.ALERTS.items() <= alerts.items()
    titles = {
        panel["title"]
        for path in (DEPLOY / "grafana/dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
    }
    assert guide.PANELS.keys() <= titles


def test_the_books_close_in_prometheus_too(world: tuple[Prometheus, Running]) -> None:
    for families in (
        ("kepler_process_joules_total", "kepler_processes_exited_joules_total"),
        (
            "kepler_container_joules_total",
            "kepler_containers_exited_joules_total",
            "kepler_containers_pending_joules",
        ),
    ):
        parts = (*families, "kepler_node_idle_joules_total", "kepler_node_unattributed_joules_total")
        whole = " + ".join(f"sum by (node) ({part})" for part in parts)
        nodes = world[0].query(f"({whole}) / on (node) kepler_node_energy_joules_total")
        assert len(nodes) == 2
        for node in nodes:
            assert float(node["value"][1]) == pytest.approx(1.0, rel=1e-9)


def test_watts_are_the_meters(world: tuple[Prometheus, Running]) -> None:
    """40 W of packages, 10 W of memory and 20 W of GPU; the stand-ins tick unevenly where the machine is busy."""
    (watts,) = world[0].query(f'deriv(kepler_node_energy_joules_total{{node="{METERED}"}}[30s])')
    assert watts["metric"]["node"] == watts["metric"]["instance"] == METERED
    assert float(watts["value"][1]) == pytest.approx(70.0, rel=0.1)


def test_no_series_names_the_collectors_own_pod(world: tuple[Prometheus, Running]) -> None:
    assert world[0].query('count({__name__=~"kepler_.+"})')
    assert not world[0].query('{__name__=~"kepler_.+|up",namespace="newmonitoring"}')
    assert not world[0].query('kepler_process_power_watts{pod!=""}')


def test_labels_of_kepler_0_9(world: tuple[Prometheus, Running]) -> None:
    (app,) = world[0].query('kepler_container_joules_total{pod_name="web-0",container_name="app",node="worker-1"}')
    assert app["metric"].items() >= {"container_namespace": "shop", "mode": "dynamic", "pod": "web-0"}.items()
    assert not world[0].query('kepler_node_power_watts{mode="dynamic"}')
