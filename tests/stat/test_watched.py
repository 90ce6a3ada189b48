"""Which container is meant by a name or the front of an id."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kepler_ebpf.assembly import Session
from kepler_ebpf.errors import KeplerError
from kepler_ebpf.host.hierarchy import Hierarchy
from kepler_ebpf.stat.watched import container
from kepler_ebpf.workloads.resolver import WorkloadResolver

A, B = "a1" * 32, "b2" * 32
USERS = "user.slice/user-1000.slice/user@1000.service/user.slice"


def title(tmp_path: Path, name: str) -> str:
    hierarchy = Hierarchy(tmp_path)
    workloads = WorkloadResolver(hierarchy)
    try:
        session: Any = SimpleNamespace(hierarchy=hierarchy, workloads=workloads, sampler=SimpleNamespace(table=None))
        return container(cast(Session, session), name, lambda seconds: None).title
    finally:
        workloads.close()


def test_the_front_of_an_id_is_enough_for_a_users_container(tmp_path: Path) -> None:
    """His engine shows the id without its owner. Root's container of the same id is not made ambiguous by his."""
    for place in (f"docker/{A}", f"{USERS}/docker-{A}.scope", f"{USERS}/docker-{B}.scope"):
        (tmp_path / place).mkdir(parents=True)
    assert title(tmp_path, A[:12]) == f"container {A[:12]}"
    assert title(tmp_path, B[:12]) == title(tmp_path, f"1000/{B}") == f"container 1000/{B[:7]}"
    with pytest.raises(KeplerError, match="no container is called"):
        title(tmp_path, "c3c3")
