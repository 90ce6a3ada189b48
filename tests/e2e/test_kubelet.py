"""The running collector beside a kubelet that fails in every way: its schedule, its restraint, and its recovery."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Running
from tests.kernel.workloads import in_cgroup
from tests.needs import require
from tests.workloads.names.kubelet import Stand, make_certificate, pod

pytestmark = pytest.mark.kernel

UID = "0a1b2c3d-9999-2222-3333-444455556666"
ID = "c0ffee00" * 8
HOLD_SECONDS = 15
# Busy now and then for as long as the kubelets fail and recover: a series begins with the first joule.
OFTEN = "while :; do n=0; while [ $n -lt 2000 ]; do n=$((n+1)); done; sleep 0.1; done"


def listing(pods: int = 3) -> bytes:
    """Our pod among others, as the kubelet tells it."""
    ours: dict[str, Any] = {
        "metadata": {"name": "web-1", "namespace": "shop", "uid": UID},
        "status": {"containerStatuses": [{"name": "app", "containerID": f"containerd://{ID}"}]},
    }
    return json.dumps({"kind": "PodList", "items": [*(pod(number) for number in range(pods)), ours]}).encode()


# Lists of 2 MB that are brackets throughout, which take long to decode, and spaces up to more than is ever read.
HOSTILE = b'{"items":[' + (b"[" + b'{"a":[{}]},' * 190_000 + b"{}],") * 8 + b" " * 60_000_000
FAULTS: dict[str, Callable[[Stand], object]] = {
    "401": lambda stand: setattr(stand, "status", 401),
    "403": lambda stand: setattr(stand, "status", 403),
    "500": lambda stand: setattr(stand, "status", 500),
    "timeout": lambda stand: stand.hang.clear(),
    "malformed": lambda stand: setattr(stand, "body", listing()[:-100]),
    "too-large": lambda stand: setattr(stand, "body", HOSTILE),
    "certificate": lambda stand: None,
}


def labels(collector: Running) -> list[dict[str, str]]:
    series = collector.samples().get("kepler_container_joules_total", ())
    return [labels for labels, _ in series if labels["container_id"] == ID]


def schedule(collector: Running) -> tuple[float, float]:
    """Samples taken, and grid points of the schedule that were missed: a sample later than twice its interval."""
    return collector.value("kepler_ebpf_samples_total"), collector.value("kepler_ebpf_late_samples_total")


def watch(reason: str, collector: Running, stand: Stand, ca: Path) -> None:
    """From a container's birth beside a failing kubelet until it has its names."""
    began, before = time.monotonic(), schedule(collector)
    asked = stand.requests
    time.sleep(6.5)
    elapsed = time.monotonic() - began
    samples, late = (now - then for now, then in zip(schedule(collector), before))
    assert late == 0, reason
    assert samples >= 0.95 * elapsed / 0.1 - 10, reason
    assert stand.requests - asked <= 1 + elapsed / 5, reason
    assert labels(collector) == [], "held until its name is known"
    errors = {
        (labels["provider"], labels["reason"]): count
        for labels, count in collector.samples()["kepler_ebpf_name_errors_total"]
    }
    assert errors.keys() == {("kubelet", reason)}
    log = collector.log.read_text()
    assert len(re.findall(rf"kubelet: no names of containers \({reason}\)", log)) == 1, log
    assert "secret" not in log

    stand.status, stand.body = 200, listing()
    stand.hang.set()
    shutil.copy(stand.ca.parent / "good.pem", ca)
    names = {"container": "app", "pod": "web-1", "namespace": "shop"}
    while not (named := [found for found in labels(collector) if found.items() >= names.items()]):
        assert time.monotonic() - began < 40, reason
        time.sleep(0.2)
    assert len(named) == 1, reason
    # Where the provider was silent for longer than a series waits, a nameless one has begun: it stays as it is.
    late = time.monotonic() - began > HOLD_SECONDS
    assert len(labels(collector)) <= (2 if late else 1), reason


def start(serve: Callable[..., Running], directory: Path, spoil: Callable[[Stand], object]) -> tuple[Running, Stand]:
    directory.mkdir()
    make_certificate(directory)
    stand = Stand(directory)
    stand.body = listing()
    shutil.copy(directory / "ca.pem", directory / "good.pem")
    shutil.copy(directory / "ca.pem", directory / "trusted.pem")
    spoil(stand)
    flags = {"url": stand.url, "token": stand.token, "ca": directory / "trusted.pem"}
    return serve(*(text for name, value in flags.items() for text in (f"--kubelet-{name}", str(value)))), stand


@pytest.fixture
def busy_container(container: Callable[[str], Path]) -> Iterator[Callable[[], None]]:
    """Makes our container and keeps it busy."""
    with ExitStack() as stack:

        def make() -> None:
            place = container(f"kubepods/burstable/pod{UID}/{ID}")
            task = stack.enter_context(in_cgroup(str(place), ["/bin/sh", "-c", OFTEN]))
            stack.callback(task.kill)

        yield make
    time.sleep(0.2)  # until the last of its processes has left the cgroup


def test_samples_keep_their_schedule_whatever_the_kubelet_does(
    serve: Callable[..., Running], busy_container: Callable[[], None], tmp_path: Path
) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    stands = {reason: start(serve, tmp_path / reason, spoil) for reason, spoil in FAULTS.items()}
    other = tmp_path / "other"
    other.mkdir()
    make_certificate(other)
    shutil.copy(other / "ca.pem", tmp_path / "certificate/trusted.pem")
    with ThreadPoolExecutor(len(stands) + 1) as threads:
        watching = [
            threads.submit(watch, reason, collector, stand, tmp_path / reason / "trusted.pem")
            for reason, (collector, stand) in stands.items()
        ]
        busy_container()
        for one in watching:
            one.result()
    for _, stand in stands.values():
        stand.server.shutdown()


def test_five_thousand_pods_delay_nothing(
    serve: Callable[..., Running], busy_container: Callable[[], None], tmp_path: Path
) -> None:
    require(shutil.which("openssl"), "needs the openssl command")
    collector, stand = start(serve, tmp_path / "kubelet", lambda stand: setattr(stand, "body", listing(5000)))
    before = schedule(collector)
    busy_container()
    deadline = time.monotonic() + 15
    while not labels(collector):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert labels(collector)[0]["pod"] == "web-1"
    assert schedule(collector)[1] == before[1]
    stand.server.shutdown()
