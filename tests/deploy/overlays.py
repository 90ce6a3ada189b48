"""The shipped manifests with a kustomize overlay applied, for tests: as much of kustomize as the overlays use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = tuple(sorted(path.parent.name for path in (DEPLOY / "kustomize").glob("*/kustomization.yaml")))

Document = dict[str, Any]
# Keys by which Kubernetes merges lists of built-in kinds; the kubelet's API types say so (patchMergeKey).
_MERGE_KEYS = {"containers": "name", "env": "name", "volumeMounts": "mountPath", "volumes": "name"}


def render(folder: Path) -> list[Document]:
    """Every document of a kustomization, patched."""
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    documents: list[Document] = []
    for resource in wanted["resources"]:
        path = folder / resource
        documents += render(path.resolve()) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in wanted.get("patches", ()):
        change = yaml.safe_load((folder / patch["path"]).read_text())
        (position,) = [n for n, document in enumerate(documents) if _identity(document) == _identity(change)]
        custom = "." in change["apiVersion"].split("/")[0] and "k8s.io" not in change["apiVersion"]
        documents[position] = _merge(documents[position], change, custom)
    return documents


def overlay(name: str) -> dict[str, Document]:
    """The documents of one overlay, by kind."""
    return {document["kind"]: document for document in render(DEPLOY / "kustomize" / name)}


def snake(relabelings: list[Document]) -> list[Document]:
    """The Operator's words for Prometheus' own."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{words.get(key, key): value for key, value in one.items()} for one in relabelings]


def _identity(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def _merge(base: Any, change: Any, custom: bool, key: str = "") -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        merged = dict(base)
        for name, value in change.items():
            merged[name] = _merge(base.get(name), value, custom, name)
        return merged
    by = _MERGE_KEYS.get(key)
    if isinstance(base, list) and isinstance(change, list) and by and not custom:
        found = {entry[by]: entry for entry in base}
        for entry in change:
            found[entry[by]] = _merge(found.get(entry[by]), entry, custom)
        return list(found.values())
    return change
