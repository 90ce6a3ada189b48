"""The dashboards' JSON: of the schema, complete, placed without gaps, and importable anywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy.overlays import DEPLOY

register_default_plugins()
PATHS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
BUILT_IN = {"__rate_interval", "__range"}


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def test_there_are_six_each_with_its_own_uid() -> None:
    assert {path.stem for path in PATHS} == {"fleet", "node", "workload", "gpu", "collector", "host"}
    assert len({json.loads(path.read_text())["uid"] for path in PATHS}) == 6


def test_the_schema_reads_it_and_writes_the_same(dashboard: dict[str, Any]) -> None:
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    for panel in again["panels"]:
        if panel["fieldConfig"]["defaults"].get("custom") == {}:  # what the schema fills in for heat maps
            del panel["fieldConfig"]["defaults"]["custom"]
    assert again == dashboard


def test_every_panel_says_what_it_shows(dashboard: dict[str, Any]) -> None:
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        used = {defaults["unit"]} if "unit" in defaults else set()
        used |= {
            entry["value"]
            for override in panel["fieldConfig"]["overrides"]
            for entry in override["properties"]
            if entry["id"] == "unit"
        }
        assert used or panel["type"] == "heatmap", panel["title"]
        assert used <= known


def test_panels_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    height = 1 + max(y for _, y in taken)
    assert len(taken) == 24 * height, "there are holes"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_variables_are_there_and_used(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for text in expressions for name in re.findall(r"\$(\w+)", text)} - BUILT_IN
    assert used | {"datasource"} == set(variables)
    for panel in dashboard["panels"]:
        for target in (panel, *panel["targets"]):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, "importable anywhere"


def test_grafana_is_provisioned_with_them() -> None:
    """What the provisioning files name is there: the folder of the compose file's mount."""
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/kepler-ebpf.yaml").read_text())["providers"]
    assert Path(provider["options"]["path"]) == Path("/var/lib/grafana/dashboards")
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
