"""What single hosts are started with: the compose file and the systemd unit."""

from __future__ import annotations

import configparser
import re
from typing import Any

import yaml

from kepler_ebpf.config import OPTIONS
from tests.deploy.overlays import DEPLOY, overlay

COMPOSE = DEPLOY / "compose/compose.yaml"
VARIABLES = {option.variable for option in OPTIONS}


def service(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"][name])


def test_compose_grants_what_the_least_privileged_pod_has() -> None:
    collector = service("collector")
    (container,) = overlay("least-privilege")["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    capabilities = container["securityContext"]["capabilities"]
    assert (collector["cap_drop"], collector["cap_add"]) == (capabilities["drop"], capabilities["add"])
    assert "privileged" not in collector
    assert collector["read_only"] is True
    mounts = {volume.split(":")[1] for volume in collector["volumes"]} | {
        tmpfs.split(":")[0] for tmpfs in collector["tmpfs"]
    }
    assert mounts == {mount["mountPath"] for mount in container["volumeMounts"]}
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


def test_the_unit_bounds_the_same_capabilities() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "systemd/kepler-ebpf.service")
    bound = {name.removeprefix("CAP_") for name in unit["Service"]["CapabilityBoundingSet"].split()}
    (container,) = overlay("least-privilege")["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert bound == set(container["securityContext"]["capabilities"]["add"])
    settings = (DEPLOY / "systemd/kepler-ebpf.default").read_text()
    assert set(re.findall(r"KEPLER_[A-Z_]+(?==)", settings)) <= VARIABLES
