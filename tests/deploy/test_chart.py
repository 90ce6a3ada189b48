"""The Helm chart, rendered by Go's own template engine: it installs what the kustomize overlays do.

Helm itself is not to be had from a package registry. The chart keeps to the functions that Go's text/template has, so
that the engine alone renders it (package go-template).
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kepler_ebpf import __version__
from tests.deploy.overlays import DEPLOY, render
from tests.deploy.test_manifests import SUPPORTED
from tests.needs import require

CHART = DEPLOY / "helm/kepler-ebpf"
METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
RENDER = "import sys; from go_template import render_template; render_template(*sys.argv[1:])"
Document = dict[str, Any]

# What a user sets, and the overlay that does the same.
ALIKE: dict[str, Document] = {
    "privileged": {},
    "least-privilege": {"profile": "least-privilege"},
    "gpu": {"gpu": {"enabled": True}},
    "network-policy": {"networkPolicy": {"enabled": True}},
    "auth": {"auth": {"enabled": True}},
    "kepler-0.9": {"serviceMonitor": {"kepler09Labels": True}, "rules": {"kepler09": True}},
    "kepler-0.10": {"rules": {"kepler010": True}},
}


def merge(base: Any, change: Any) -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in change.items()}}
    return change


def helm_template(directory: Path, change: Document, namespace: str = "newmonitoring") -> list[Document]:
    """Every document that the chart makes of these values."""
    require(platform.machine() == "x86_64", "the package go-template has its engine for x86-64 only")
    context = {
        "Values": merge(VALUES, change),
        "Release": {"Namespace": namespace},
        "Chart": {"AppVersion": METADATA["appVersion"]},
    }
    values = directory / "values.yaml"
    values.write_text(yaml.safe_dump(context))
    documents = []
    for template in sorted((CHART / "templates").glob("*.yaml")):
        output = directory / template.name
        # A process of its own: the engine ends its process where a template fails.
        command = [sys.executable, "-c", RENDER, str(template), str(values), str(output)]
        answer = subprocess.run(command, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        documents += [document for document in yaml.safe_load_all(output.read_text()) if document]
    return documents


def canonical(documents: list[Document]) -> dict[tuple[str, str], Document]:
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


@pytest.mark.parametrize("name", ALIKE)
def test_the_chart_installs_what_the_overlay_does(name: str, tmp_path: Path) -> None:
    assert canonical(helm_template(tmp_path, ALIKE[name])) == canonical(render(DEPLOY / "kustomize" / name))


@pytest.mark.parametrize("version", SUPPORTED)
def test_everything_at_once_elsewhere_is_valid(version: str, tmp_path: Path) -> None:
    change: Document = {
        "profile": "least-privilege",
        "image": {"repository": "registry.example/kepler-ebpf", "tag": "0.2.0"},
        "env": {"KEPLER_PROCESS_METRICS": "off", "KEPLER_LOG_LEVEL": 'with "quotes"'},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "energy"}],
        "dashboards": {"enabled": True},
        "priorityClassName": "",
        "serviceMonitor": {"labels": {"release": "prometheus"}},
        "rules": {"labels": {"release": "prometheus"}},
    }
    for change_ in ALIKE.values():
        change = merge(change, change_)
    documents = helm_template(tmp_path, change, namespace="elsewhere")
    for document in documents:
        if document["kind"] not in ("ServiceMonitor", "PrometheusRule"):
            kubernetes_validate.validate(document, version, strict=True)
        if not document["kind"].startswith("Cluster"):
            assert document["metadata"]["namespace"] == "elsewhere"
        if document["kind"] in ("ServiceMonitor", "PrometheusRule"):
            assert document["metadata"]["labels"] == {"app": "kepler-exporter", "release": "prometheus"}
    pod = canonical(documents)[("DaemonSet", "kepler-exporter")]["spec"]["template"]["spec"]
    assert "priorityClassName" not in pod
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/kepler-ebpf:0.2.0"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "energy"}]
    assert {"name": "KEPLER_LOG_LEVEL", "value": 'with "quotes"'} in container["env"]


def test_dashboards_arrive_unchanged(tmp_path: Path) -> None:
    documents = helm_template(tmp_path, {"dashboards": {"enabled": True}})
    maps = [document["data"] for document in documents if document["kind"] == "ConfigMap"]
    arrived = {name: json.loads(text) for data in maps for name, text in data.items()}
    shipped = (DEPLOY / "grafana/dashboards").glob("*.json")
    assert arrived == {f"kepler-ebpf-{path.name}": json.loads(path.read_text()) for path in shipped}


def test_it_needs_helm_for_nothing_that_helm_adds() -> None:
    """Every function in the templates is one that Go's text/template has."""
    words = set()
    for path in (CHART / "templates").glob("*"):
        for action in re.findall(r"{{-?(.*?)-?}}", re.sub(r'{{ "[{}]+" }}', "", path.read_text())):
            words |= set(re.findall(r"(?<![.$\w])[a-z]\w*", re.sub(r'"[^"]*"', "", action)))
    assert words <= {"if", "else", "end", "range", "or", "eq", "ne", "printf"}


def test_a_version_is_one_version() -> None:
    assert METADATA["appVersion"] == __version__
    assert f"kepler-ebpf:{__version__}" in (DEPLOY / "k8s/kepler-daemonset.yaml").read_text()
    assert f'version="{__version__}"' in (DEPLOY / "Dockerfile").read_text()
