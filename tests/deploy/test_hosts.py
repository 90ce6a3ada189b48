"""What single hosts are started with: the compose file and the systemd unit."""

from __future__ import annotations

import configparser
import re
from typing import Any

import yaml

from kepler_ebpf.config import OPTIONS
from tests.deploy.overlays import DEPLOY, container, daemonset

COMPOSE = DEPLOY / "compose/compose.yaml"
VARIABLES = {option.variable for option in OPTIONS}


def service(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"][name])


def volumes(name: str) -> list[dict[str, Any]]:
    return list(daemonset(name)["spec"]["template"]["spec"]["volumes"])


def test_compose_grants_what_the_least_privileged_pod_has() -> None:
    collector = service("collector")
    pod = container("least-privilege")
    capabilities = pod["securityContext"]["capabilities"]
    assert (collector["cap_drop"], collector["cap_add"]) == (capabilities["drop"], capabilities["add"])
    assert "privileged" not in collector
    assert collector["read_only"] is True
    host = {volume["name"]: volume["hostPath"]["path"] for volume in volumes("least-privilege") if "hostPath" in volume}
    mounted = {host.get(mount["name"], mount["name"]): mount["mountPath"] for mount in pod["volumeMounts"]}
    assert mounted.pop("tmp") == collector["tmpfs"][0].split(":")[0]
    kept = f"state:{mounted.pop('state')}"
    assert sorted(collector["volumes"]) == sorted([kept, *(f"{path}:{target}:ro" for path, target in mounted.items())])
    assert collector["environment"].keys() <= VARIABLES


def test_every_file_that_compose_mounts_is_there() -> None:
    for name in ("prometheus", "grafana"):
        for volume in service(name)["volumes"]:
            if volume.startswith("."):
                assert (COMPOSE.parent / volume.split(":")[0]).exists(), volume
    build = service("collector")["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).exists()


def test_nothing_of_compose_listens_beyond_this_host() -> None:
    assert service("collector")["environment"]["KEPLER_LISTEN"].startswith("127.0.0.1:")
    assert "--web.listen-address=127.0.0.1:9090" in service("prometheus")["command"]
    assert service("grafana")["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert not any("ports" in service(name) for name in ("collector", "prometheus", "grafana"))


def test_the_state_is_kept_where_only_the_collector_writes() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd/kepler-ebpf.service")
    service_of = unit["Service"]
    assert service_of["Environment"] == f"KEPLER_STATE_DIRECTORY=%S/{service_of['StateDirectory']}"
    assert service_of["StateDirectoryMode"] == "0700"
    pod = container("privileged")
    (place,) = (mount["mountPath"] for mount in pod["volumeMounts"] if mount["name"] == "state")
    assert {"name": "KEPLER_STATE_DIRECTORY", "value": place} in pod["env"]
    (volume,) = (volume for volume in volumes("privileged") if volume["name"] == "state")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"}


def test_the_unit_bounds_the_same_capabilities() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd/kepler-ebpf.service")
    bound = {name.removeprefix("CAP_") for name in unit["Service"]["CapabilityBoundingSet"].split()}
    # Hardware counters on Debian's own kernels, whose packages this is for (docs/deployment.md).
    debian = {"SYS_ADMIN"}
    assert bound == set(container("sys-resource")["securityContext"]["capabilities"]["add"]) | debian
    settings = (DEPLOY / "systemd/kepler-ebpf.default").read_text()
    assert set(re.findall(r"KEPLER_[A-Z_]+(?==)", settings)) <= VARIABLES
