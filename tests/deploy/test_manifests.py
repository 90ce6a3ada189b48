"""The files that the setup guide applies: names, security, probes, and rules that Prometheus takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from deploy.generate import generated

from kepler_ebpf.config import OPTIONS
from tests.deploy.overlays import DEPLOY, OVERLAYS, by_name, container, endpoint, overlay, render

SUPPORTED = ("1.28", "1.32", "1.37")
"""The oldest Kubernetes supported, one between, the newest whose schema is to be had."""


LINUX = {"kubernetes.io/os": "linux"}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


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
    (collector,) = pod["containers"]
    assert pod["hostPID"] is True
    assert pod["serviceAccountName"] == "kepler-sa"
    assert collector["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }
    assert collector["ports"][0]["containerPort"] == 9102
    assert collector["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert collector["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert collector["securityContext"]["readOnlyRootFilesystem"] is True
    host_paths = {volume["name"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount for mount in collector["volumeMounts"]}
    assert all(mounts[name]["readOnly"] and "mountPropagation" not in mounts[name] for name in host_paths)
    known = {option.variable for option in OPTIONS}
    assert {variable["name"] for variable in collector["env"]} <= known | {"NODE_IP"}


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("name", OVERLAYS)
def test_the_schemas_of_kubernetes(name: str, version: str) -> None:
    for (kind, _), document in overlay(name).items():
        if kind not in ("ServiceMonitor", "PrometheusRule"):  # custom resources: promtool and the tests above
            kubernetes_validate.validate(document, version, strict=True)


def test_least_privilege_names_every_capability() -> None:
    security = container("least-privilege")["securityContext"]
    assert security["privileged"] is False
    assert security["capabilities"] == {
        "drop": ["ALL"],
        "add": ["BPF", "PERFMON"],
    }
    older = container("sys-resource")["securityContext"]
    assert older == {**security, "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON", "SYS_RESOURCE"]}}


def test_a_name_costs_no_more_than_reading_pods() -> None:
    """``get nodes/proxy`` runs commands: the kubelet takes it for a WebSocket's exec."""
    for name in OVERLAYS:
        (rule,) = overlay(name)["ClusterRole", "kepler-exporter"]["rules"]
        wanted = ["nodes/pods", "nodes/proxy"] if name == "nodes-proxy" else ["nodes/pods"]
        assert rule == {"apiGroups": [""], "resources": wanted, "verbs": ["get"]}


def test_every_node_has_one_collector() -> None:
    """Two DaemonSets, with and without GPUs; neither's selector takes the other's pods, the Service's takes all."""
    found = overlay("gpu")
    others, gpu = (found["DaemonSet", name]["spec"] for name in ("kepler-exporter", "kepler-exporter-gpu"))
    assert others["selector"] == {
        "matchLabels": {"app": "kepler-exporter"},
        "matchExpressions": [{"key": "variant", "operator": "DoesNotExist"}],
    }
    assert "variant" not in others["template"]["metadata"]["labels"]
    assert gpu["selector"] == {"matchLabels": {"app": "kepler-exporter", "variant": "gpu"}}
    assert gpu["selector"]["matchLabels"].items() <= gpu["template"]["metadata"]["labels"].items()
    service = found["Service", "kepler-exporter"]["spec"]["selector"]
    assert service.items() <= gpu["template"]["metadata"]["labels"].items()
    (label, value) = next(iter(gpu["template"]["spec"]["nodeSelector"].items() - LINUX.items()))
    (term,) = others["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term == {"matchExpressions": [{"key": label, "operator": "NotIn", "values": [value]}]}


def test_windows_nodes_are_left_alone() -> None:
    """The toleration is of every taint, by which clusters keep others off them."""
    for name in OVERLAYS:
        for (kind, _), document in overlay(name).items():
            if kind == "DaemonSet":
                assert LINUX.items() <= document["spec"]["template"]["spec"]["nodeSelector"].items()


def test_overlays_combine(tmp_path: Path) -> None:
    """As docs/deployment.md says: a kustomization of one's own that names components."""
    place = DEPLOY / "kustomize"
    names = ["gpu", *(name for name in OVERLAYS if name not in ("gpu", "privileged", "without-operator"))]
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [os.path.relpath(DEPLOY / "k8s", tmp_path.resolve())],
                "components": [os.path.relpath(place / "components" / name, tmp_path.resolve()) for name in names],
            }
        )
    )
    found = by_name(render(tmp_path))
    for which in ("kepler-exporter", "kepler-exporter-gpu"):
        (collector,) = found["DaemonSet", which]["spec"]["template"]["spec"]["containers"]
        assert collector["securityContext"]["privileged"] is False
        assert collector["livenessProbe"]["httpGet"]["scheme"] == "HTTPS"
    (scraped,) = found["ServiceMonitor", "kepler-exporter"]["spec"]["endpoints"]
    assert scraped == {**endpoint("auth"), **endpoint("kepler-0.9")}
    assert len(found) == len({key for name in OVERLAYS for key in overlay(name)})


def test_authentication_is_asked_for_and_given() -> None:
    collector = container("auth")
    assert {"name": "KEPLER_WEB_CONFIG", "value": "/etc/kepler-ebpf/web.yml"} in collector["env"]
    assert {collector[probe]["httpGet"]["scheme"] for probe in PROBES} == {"HTTPS"}
    assert endpoint("auth")["scheme"] == "https"
    assert endpoint("privileged").items() <= endpoint("auth").items()


def test_without_the_operator_nothing_else_is_left_out() -> None:
    whole = overlay("privileged")
    operators = {key for key, document in whole.items() if document["apiVersion"].startswith("monitoring.coreos.com")}
    assert len(operators) == 4
    assert overlay("without-operator") == {key: whole[key] for key in whole.keys() - operators}


def test_selectors_written_for_kepler_find_it() -> None:
    """Kepler 0.9's monitor asks for the name and the component, port http."""
    asked = {"app.kubernetes.io/name": "kepler-exporter", "app.kubernetes.io/component": "exporter"}
    for name in OVERLAYS:
        found = overlay(name)
        service = found["Service", "kepler-exporter"]
        assert asked.items() <= service["metadata"]["labels"].items()
        assert "http" in [port["name"] for port in service["spec"]["ports"]]
        for (kind, _), document in found.items():
            if kind == "DaemonSet":
                assert asked.items() <= document["spec"]["template"]["metadata"]["labels"].items()


def test_every_port_names_its_protocol() -> None:
    """Server-side apply before Kubernetes 1.20 takes no other: it is part of a port's key."""
    for name in OVERLAYS:
        found = overlay(name)
        ports = list(found["Service", "kepler-exporter"]["spec"]["ports"])
        for kind, which in found:
            ports += container(name, which)["ports"] if kind == "DaemonSet" else []
        assert {port["protocol"] for port in ports} == {"TCP"}


def test_readiness_is_not_asked_before_it_can_be() -> None:
    startup, ready = (container("privileged")[probe] for probe in ("startupProbe", "readinessProbe"))
    assert startup["httpGet"] == ready["httpGet"]
    assert startup["initialDelaySeconds"] >= 10
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60, "a machine may be slow"


def test_no_verb_writes() -> None:
    for rule in documents("kepler-daemonset.yaml")["ClusterRole"]["rules"]:
        assert rule["verbs"] == ["get"]


def test_service_and_monitor_find_the_pods() -> None:
    service = documents("kepler-service.yaml")["Service"]
    port, other = service["spec"]["ports"]
    assert (service["metadata"]["name"], port["port"]) == ("kepler-exporter", 9102)
    assert (other["name"], other["port"]) == ("http", 28282), "as Kepler 0.10's"
    assert other["targetPort"] == port["targetPort"]
    monitor = documents("kepler-servicemonitor.yaml")["ServiceMonitor"]["spec"]
    (scraped,) = monitor["endpoints"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert scraped["port"] == port["name"]
    assert scraped["honorLabels"] is True
    assert {relabeling.get("targetLabel") for relabeling in scraped["relabelings"]} >= {"instance", "node"}


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == generated()[path], "run make generated"
