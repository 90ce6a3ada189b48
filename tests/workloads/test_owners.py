"""Whose a container is: what root made has its id, whatever a user made before it, beside it or after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads.test_resolver import ID, POD, USER, Kubelet, resolver, wait_for_name


@pytest.mark.parametrize("known_at_start", [True, False])
@pytest.mark.parametrize("real", [f"/kubepods/burstable/pod{POD}/{ID}", f"/system.slice/docker-{ID}.scope"])
def test_the_id_is_roots_whoever_runs_first(tmp_path: Path, real: str, known_at_start: bool) -> None:
    """After a restart a user's cgroup may be busy while the container is idle, or not there yet."""
    if known_at_start:
        (tmp_path / real[1:]).mkdir(parents=True)
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"{USER}/docker-{ID}.scope")
    users = workloads.identify(1)
    workloads.learn_path(2, real)
    roots = wait_for_name(workloads, workloads.identify(2))
    assert users is not None
    assert (users.container_id, roots.container_id) == (f"1000/{ID}", ID)
    assert roots.container == "app", "it has its name as ever"
    assert workloads.named(users).container == ""
    workloads.close()


def test_what_is_in_roots_own_session_is_roots(tmp_path: Path) -> None:
    workloads = resolver(tmp_path, Kubelet())
    workloads.learn_path(1, f"/user.slice/user-0.slice/session-3.scope/libpod-payload-{ID}")
    found = wait_for_name(workloads, workloads.identify(1))
    assert (found.container_id, found.container) == (ID, "app")
    workloads.close()
