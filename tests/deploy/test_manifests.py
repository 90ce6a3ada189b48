"""The files that the setup guide applies: names, security, probes, and rules that Prometheus takes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy.generate import generated

from kepler_ebpf.config import OPTIONS
from tests.deploy.overlays import DEPLOY, OVERLAYS, overlay, render

SUPPORTED = ("1.28", "1.32", "1.37")
"""The oldest Kubernetes supported, one between, the newest whose schema is to be had."""


def documents(name: str) -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "k8s" / name).read_text())}


@pytest.mark.parametrize("path", sorted((DEPLOY / "k8s").glob("*.yaml")), ids=lambda path: path.name)
def test_everything_is_in_the_guides_namespace_under_its_label(path: Path) -> None:
    if path.name == "kustomization.yaml":
        return
    for kind, document in documents(path.name).items():
        metadata = document["metadata"]
        if not kind.startswith("Cluster"):
            assert metadata["namespace"] == "newmonitoring", kind
        assert metadata["labels"]["app"] == "kepler-exporter", kind


def test_the_daemonset_is_the_guides() -> None:
    found = documents("kepler-daemonset.yaml")
    assert found["ServiceAccount"]["metadata"]["name"] == "kepler-sa"
    assert found["DaemonSet"]["metadata"]["name"] == "kepler-exporter"
    pod = found["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["hostPID"] is True
    assert pod["serviceAccountName"] == "kepler-sa"
    assert container["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }
    assert container["ports"][0]["containerPort"] == 9102
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    host_paths = {volume["name"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert all(mounts[name]["readOnly"] for name in host_paths)
    known = {option.variable for option in OPTIONS}
    assert {variable["name"] for variable in container["env"]} <= known | {"NODE_IP"}


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("name", OVERLAYS)
def test_the_schemas_of_kubernetes(name: str, version: str) -> None:
    for kind, document in overlay(name).items():
        if kind not in ("ServiceMonitor", "PrometheusRule"):  # custom resources: promtool and the tests above
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_kustomize_says_the_same(name: str) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    answer = subprocess.run(["kubectl", "kustomize", DEPLOY / "kustomize" / name], capture_output=True, text=True)
    if "unknown field" in answer.stderr:
        pytest.skip("kubectl is older than any supported Kubernetes")
    assert answer.returncode == 0, answer.stderr

    def canonical(documents: Any) -> list[str]:
        return sorted(json.dumps(document, sort_keys=True) for document in map(unordered, documents))

    assert canonical(yaml.safe_load_all(answer.stdout)) == canonical(render(DEPLOY / "kustomize" / name))


def unordered(value: Any) -> Any:
    """Lists of named things in an order of their own."""
    if isinstance(value, dict):
        return {key: unordered(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted(map(unordered, value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value


def test_least_privilege_names_every_capability() -> None:
    found = overlay("least-privilege")
    (container,) = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    security = container["securityContext"]
    assert security["privileged"] is False
    assert security["capabilities"] == {
        "drop": ["ALL"],
        "add": ["BPF", "PERFMON", "DAC_READ_SEARCH", "SYS_RESOURCE"],
    }
    assert found["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}]


def test_authentication_is_asked_for_and_given() -> None:
    found = overlay("auth")
    (container,) = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "KEPLER_WEB_CONFIG", "value": "/etc/kepler-ebpf/web.yml"} in container["env"]
    assert {container[probe]["httpGet"]["scheme"] for probe in ("livenessProbe", "readinessProbe")} == {"HTTPS"}
    (endpoint,) = found["ServiceMonitor"]["spec"]["endpoints"]
    (plain,) = documents("kepler-servicemonitor.yaml")["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert plain.items() <= endpoint.items()


def test_no_verb_writes() -> None:
    for rule in documents("kepler-daemonset.yaml")["ClusterRole"]["rules"]:
        assert rule["verbs"] == ["get"]


def test_service_and_monitor_find_the_pods() -> None:
    service = documents("kepler-service.yaml")["Service"]
    (port,) = service["spec"]["ports"]
    assert (service["metadata"]["name"], port["port"]) == ("kepler-exporter", 9102)
    monitor = documents("kepler-servicemonitor.yaml")["ServiceMonitor"]["spec"]
    (endpoint,) = monitor["endpoints"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] == port["name"]
    assert endpoint["honorLabels"] is True
    assert {relabeling.get("targetLabel") for relabeling in endpoint["relabelings"]} >= {"instance", "node"}


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == generated()[path], "run make generated"
