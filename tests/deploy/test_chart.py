"""The Helm chart, rendered by Helm itself: it installs what the kustomize overlays do."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kepler_ebpf import __version__
from kepler_ebpf.options import parse_duration
from tests.deploy.overlays import DEPLOY, Document, by_name, container, endpoint, render, unordered
from tests.deploy.test_manifests import LINUX, PROBES, SUPPORTED

if platform.machine() != "x86_64" or sys.version_info < (3, 10):
    pytest.skip("Helm's package is for x86-64 and Python 3.10 or later", allow_module_level=True)
import helm_python as helm

CHART = DEPLOY / "helm/kepler-ebpf"
METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())

# What a user sets, and the overlay that does the same.
OPERATOR: Document = {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}}
ALIKE: dict[str, Document] = {
    "privileged": {},
    "without-operator": {"serviceMonitor": {"enabled": False}, "rules": {"enabled": False}},
    "least-privilege": {"profile": "least-privilege"},
    "sys-resource": {"profile": "least-privilege", "sysResource": True},
    "gpu": {"gpu": {"enabled": True}},
    "nodes-proxy": {"rbac": {"nodesProxy": True}},
    "network-policy": {"networkPolicy": {"enabled": True}},
    "auth": {"auth": {"enabled": True}},
    "kepler-0.9": {"serviceMonitor": {"kepler09Labels": True}, "rules": {"kepler09": True}},
    "kepler-0.10": {"rules": {"kepler010": True}},
    "consumers": {"rules": {"consumers": True}},
}


def helm_template(change: Document, namespace: str = "newmonitoring", chart: Path = CHART) -> list[Document]:
    """Every document that the chart makes of these values, which its schema takes."""
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(loaded.merge_values(change))
        rendered = loaded.render(change, name="kepler-ebpf", namespace=namespace)
    texts = [text for path, text in sorted(rendered.items()) if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def pod_of(change: Document, which: str = "kepler-exporter") -> Document:
    found = by_name(helm_template(change))
    return dict(found["DaemonSet", which]["spec"]["template"]["spec"])


def container_of(change: Document) -> Document:
    (one,) = pod_of(change)["containers"]
    return dict(one)


def merge(base: Any, change: Any) -> Any:
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: merge(base.get(key), value) for key, value in change.items()}}
    return change


@pytest.mark.parametrize("name", ALIKE)
def test_the_chart_installs_what_the_overlay_does(name: str) -> None:
    shipped = by_name(render(DEPLOY / "kustomize" / name))
    assert unordered(by_name(helm_template(merge(OPERATOR, ALIKE[name])))) == unordered(shipped)


@pytest.mark.parametrize(("named", "let_in"), [("", "monitoring"), ("prometheus", "prometheus")])
def test_the_network_policy_lets_in_the_releases_own_namespace(named: str, let_in: str) -> None:
    policy = by_name(helm_template({"networkPolicy": {"enabled": True, "from": named}}, "monitoring"))
    (rule,) = policy["NetworkPolicy", "kepler-exporter"]["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": let_in}}}]


@pytest.mark.parametrize("known", [True, False])
def test_objects_of_the_operator_are_for_clusters_that_know_them(known: bool, tmp_path: Path) -> None:
    """What the cluster knows cannot be said to this Helm: the question is replaced by its answer."""
    chart = shutil.copytree(CHART, tmp_path / "chart")
    helpers = chart / "templates/_helpers.tpl"
    question = '.root.Capabilities.APIVersions.Has (print "monitoring.coreos.com/v1/" .kind)'
    assert question in helpers.read_text()
    helpers.write_text(helpers.read_text().replace(question, str(known).lower()))
    expected = by_name(render(DEPLOY / "kustomize" / ("privileged" if known else "without-operator")))
    assert unordered(by_name(helm_template({}, chart=chart))) == unordered(expected)


def test_a_clusters_monitors_may_look_by_another_name() -> None:
    found = by_name(helm_template({"nameLabel": "kepler"}))
    labels = [
        found["Service", "kepler-exporter"]["metadata"]["labels"],
        found["DaemonSet", "kepler-exporter"]["spec"]["template"]["metadata"]["labels"],
    ]
    assert [one["app.kubernetes.io/name"] for one in labels] == ["kepler", "kepler"]
    for bad in ("", "a b", "x" * 64, "kepler: x"):
        with pytest.raises(helm.HelmError):
            helm_template({"nameLabel": bad})


@pytest.mark.parametrize("version", SUPPORTED)
def test_everything_at_once_elsewhere_is_valid(version: str) -> None:
    change: Document = {
        "profile": "least-privilege",
        "image": {"repository": "registry.example/kepler-ebpf", "tag": "2024-06"},
        "env": {"KEPLER_PROCESS_METRICS": "off", "KEPLER_LOG_LEVEL": 'with "quotes"'},
        "nodeSelector": {"disk": "true"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "energy"}],
        "dashboards": {"enabled": True},
        "priorityClassName": "",
        "serviceMonitor": {"labels": {"release": "prometheus"}},
        "rules": {"labels": {"release": "prometheus"}},
    }
    for change_ in (*ALIKE.values(), OPERATOR):
        change = merge(change, change_)
    documents = helm_template(change, namespace="elsewhere")
    for document in documents:
        if document["kind"] not in ("ServiceMonitor", "PrometheusRule"):
            kubernetes_validate.validate(document, version, strict=True)
        if not document["kind"].startswith("Cluster"):
            assert document["metadata"]["namespace"] == "elsewhere"
        if document["kind"] in ("ServiceMonitor", "PrometheusRule"):
            assert document["metadata"]["labels"] == {"app": "kepler-exporter", "release": "prometheus"}
    pod = by_name(documents)["DaemonSet", "kepler-exporter-gpu"]["spec"]["template"]["spec"]
    assert "priorityClassName" not in pod
    (one,) = pod["containers"]
    assert one["image"] == "registry.example/kepler-ebpf:2024-06"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "true", "nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "energy"}]
    assert {"name": "KEPLER_LOG_LEVEL", "value": 'with "quotes"'} in one["env"]


def test_selectors_of_nodes_that_are_empty() -> None:
    assert "nodeSelector" not in pod_of({"nodeSelector": None})
    assert "nodeSelector" not in pod_of({"nodeSelector": {"kubernetes.io/os": None}})
    # Nothing would say which of the two DaemonSets a node is for.
    for empty in (None, {"nvidia.com/gpu.present": None}):
        with pytest.raises(helm.HelmError, match="gpu"):
            helm_template({"gpu": {"enabled": True, "nodeSelector": empty}})


def test_values_that_yaml_would_take_for_something_else() -> None:
    toleration = {"key": "dedicated", "operator": "Equal", "value": "true"}
    pod = pod_of({"tolerations": [toleration], "nodeSelector": {"energy": True, "rack": 7}, "image": {"tag": "1.0"}})
    assert pod["tolerations"] == [toleration]
    assert pod["nodeSelector"] == {**LINUX, "energy": "true", "rack": "7"}
    assert pod["containers"][0]["image"] == "kepler-ebpf:1.0"
    labelled = {"rules": {"labels": {"a": True}}, "serviceMonitor": {"labels": {"a": True}}}
    documents = helm_template(merge(OPERATOR, labelled))
    labels = [one["metadata"]["labels"] for one in documents if one["kind"] in ("ServiceMonitor", "PrometheusRule")]
    assert labels == [{"app": "kepler-exporter", "a": "true"}] * 4


def test_a_limit_may_be_left_out() -> None:
    resources = container_of({"resources": {"limits": {"cpu": None}}})["resources"]
    assert resources == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    assert pod_of({"tolerations": []}).keys() >= {"containers", "volumes"}


def test_the_port_is_the_one_that_probes_ask() -> None:
    container_of({"env": {"KEPLER_LISTEN": "0.0.0.0:9102"}})
    with pytest.raises(helm.HelmError, match="KEPLER_LISTEN"):
        helm_template({"env": {"KEPLER_LISTEN": ":28282"}})


def test_a_variable_of_the_users_replaces_the_charts() -> None:
    env = container_of({"env": {"KEPLER_KUBELET_URL": "off", "KEPLER_METRICS_INTERVAL": "7s"}})["env"]
    found = {variable["name"]: variable.get("value") for variable in env}
    assert len(found) == len(env)
    assert (found["KEPLER_KUBELET_URL"], found["KEPLER_METRICS_INTERVAL"]) == ("off", "7s")
    assert env[0]["name"] == "NODE_IP", "others refer to it"


@pytest.mark.parametrize("interval", ["30s", "1m30s", "500ms", "0.5s", "30", "s", "1m 30s", "1d", ".5s"])
def test_the_schema_takes_the_intervals_that_the_collector_takes(interval: str) -> None:
    try:
        parse_duration(interval)
    except ValueError:
        with pytest.raises(helm.HelmError):
            helm_template({"metricsInterval": interval})
    else:
        assert {"name": "KEPLER_METRICS_INTERVAL", "value": interval} in container_of({"metricsInterval": interval})[
            "env"
        ]


@pytest.mark.parametrize(
    ("version", "setting", "proxy"),
    [
        ("v1.32.9", "auto", True),
        ("v1.32.9-gke.100", "auto", True),
        ("v1.33.0-gke.100", "auto", False),
        ("v1.37.0", "auto", False),
        ("v1.28.0", False, False),
        ("v1.37.0", True, True),
    ],
)
def test_nodes_proxy_is_for_clusters_that_need_it(version: str, setting: object, proxy: bool, tmp_path: Path) -> None:
    chart = shutil.copytree(CHART, tmp_path / "chart")
    template = chart / "templates/rbac.yaml"
    assert ".Capabilities.KubeVersion.Version" in template.read_text()
    template.write_text(template.read_text().replace(".Capabilities.KubeVersion.Version", f'"{version}"'))
    found = by_name(helm_template({"rbac": {"nodesProxy": setting}}, chart=chart))
    (rule,) = found["ClusterRole", "kepler-exporter"]["rules"]
    assert rule["verbs"] == ["get"]
    assert rule["resources"] == ["nodes/pods", *(["nodes/proxy"] if proxy else [])]


def test_price_and_carbon_are_values() -> None:
    change = {"electricityPricePerKwh": 0.21, "carbonGramsPerKwh": 'sum(grid_intensity{zone="DE"})'}
    found = by_name(helm_template({"rules": {"enabled": True, **change}}))
    (group,) = found["PrometheusRule", "kepler-parameters"]["spec"]["groups"]
    assert [rule["expr"] for rule in group["rules"]] == ["0.21", change["carbonGramsPerKwh"]]


def test_a_socket_and_a_registrys_secret() -> None:
    socket = {"name": "containerd", "hostPath": {"path": "/run/containerd/containerd.sock", "type": "Socket"}}
    mount = {"name": "containerd", "mountPath": "/run/containerd/containerd.sock", "readOnly": True}
    change = {
        "extraVolumes": [socket],
        "extraVolumeMounts": [mount],
        "imagePullSecrets": [{"name": "registry"}],
    }
    pod = pod_of(change)
    assert socket in pod["volumes"]
    assert mount in pod["containers"][0]["volumeMounts"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_probes_only_connect_where_clients_need_certificates() -> None:
    change = {"auth": {"enabled": True, "clientCertificates": True}}
    one = container_of(change)
    for probe in PROBES:
        assert one[probe] == {**without(container("auth")[probe], "httpGet"), "tcpSocket": {"port": "http-metrics"}}
    (scraped,) = by_name(helm_template(merge(OPERATOR, change)))["ServiceMonitor", "kepler-exporter"]["spec"][
        "endpoints"
    ]
    tls = scraped["tlsConfig"]
    assert (tls["cert"]["secret"]["key"], tls["keySecret"]["key"]) == ("tls.crt", "tls.key")
    assert without(tls, "cert", "keySecret") == endpoint("auth")["tlsConfig"]


def without(document: Document, *keys: str) -> Document:
    return {key: value for key, value in document.items() if key not in keys}


def test_helm_lints_it() -> None:
    report = helm.lint(CHART, strict=True)
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert not report["errors"]


def test_dashboards_arrive_unchanged() -> None:
    documents = helm_template({"dashboards": {"enabled": True}})
    maps = [document["data"] for document in documents if document["kind"] == "ConfigMap"]
    arrived = {name: json.loads(text) for data in maps for name, text in data.items()}
    shipped = (DEPLOY / "grafana/dashboards").glob("*.json")
    assert arrived == {f"kepler-ebpf-{path.name}": json.loads(path.read_text()) for path in shipped}


def test_a_version_is_one_version() -> None:
    assert METADATA["appVersion"] == __version__
    assert f"kepler-ebpf:{__version__}" in (DEPLOY / "k8s/kepler-daemonset.yaml").read_text()
    assert f'version="{__version__}"' in (DEPLOY / "Dockerfile").read_text()
