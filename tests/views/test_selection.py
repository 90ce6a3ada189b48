"""Levels of detail and namespaces: what a page shows of a snapshot, and what a query may ask for."""

from __future__ import annotations

import gzip
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest

from kepler_ebpf.options import LEVELS
from kepler_ebpf.snapshot.types import Pod, Snapshot
from kepler_ebpf.views.families import FAMILIES
from kepler_ebpf.views.prometheus import Renderer
from kepler_ebpf.views.selection import OURSELVES, Selection, UnknownLevelError
from kepler_ebpf.workloads.workload import SYSTEM, Workload
from tests.snapshots import Published, everything


def busy() -> Snapshot:
    """Containers in two namespaces, one beside Kubernetes, a virtual machine, and processes of each."""
    workloads = (
        Workload("container", "a" * 12, "app", "web-0", "shop", "uid-1"),
        Workload("container", "b" * 12, "db", "db-0", "bank", "uid-2"),
        Workload("container", "c" * 12, "redis"),
        Workload("vm", "libvirt/desk", "desk"),
        SYSTEM,
    )
    snapshot, n = everything(), len(workloads)
    column = np.arange(1.0, n + 1)
    assert snapshot.processes is not None
    return replace(
        snapshot,
        containers=replace(
            snapshot.containers,
            workloads=workloads,
            joules=np.tile(column, (5, 1)),
            watts=column,
            max_watts=column,
            seconds=column,
            cycles=column,
            working_set_bytes=(1, 2, 3, 4, None),
            began=(1.0, 2.0, 3.0, 4.0, 5.0),
        ),
        pods=(Pod("web-0", "shop", "uid-1", 1.0, 1.0, 1.0, 1.0), Pod("db-0", "bank", "uid-2", 2.0, 2.0, 2.0, 2.0)),
        processes=replace(
            snapshot.processes,
            pid=("1", "2", "3", "other"),
            comm=("nginx", "postgres", "sh", "other"),
            container_id=("a" * 12, "b" * 12, "", ""),
            joules=np.ones((3, 4)),
            watts=np.ones(4),
            seconds=np.ones(4),
            cycles=np.ones(4),
            began=(1.0,) * 4,
        ),
    )


def page(selection: Selection, query: str = "") -> str:
    return Renderer(Published(busy()), selection).metrics("", False, query)[0].decode()


def levels_of(text: str) -> set[str]:
    """The levels whose families are there; virtual machines are rows of the containers'."""
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    found = {str(family.level) for family in FAMILIES if family.full_name in names}
    if 'container="desk"' in text:
        found.add("vm")
    if 'container="app"' not in text:
        found.discard("container")
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_may_be_left_out_or_alone(level: str) -> None:
    without = page(Selection(frozenset(LEVELS) - {level}))
    assert levels_of(without) == {*LEVELS, OURSELVES} - {level}
    alone = page(Selection(), f"collect[]={level}")
    assert levels_of(alone) == {level}
    assert "process_resident_memory_bytes" not in alone
    both = page(Selection(), f"collect[]={level}&collect%5B%5D={OURSELVES}&other=1")
    assert levels_of(both) == {level, OURSELVES}
    assert "process_resident_memory_bytes" in both


def test_all_levels_together_are_the_whole_page() -> None:
    query = "&".join(f"collect[]={level}" for level in (*LEVELS, OURSELVES))
    whole, asked = (
        [line for line in page(Selection(), one).splitlines() if not line.startswith("process_")] for one in ("", query)
    )
    assert asked == whole


@pytest.mark.parametrize("level", [*LEVELS, OURSELVES])
def test_a_query_may_leave_a_level_out(level: str) -> None:
    text = page(Selection(), f"exclude[]={level}")
    assert levels_of(text) == {*LEVELS, OURSELVES} - {level}
    assert ("process_resident_memory_bytes" in text) is (level != OURSELVES)
    kept = [other for other in (*LEVELS, OURSELVES) if other != level]
    selection = Selection()
    assert selection.asked(f"exclude%5B%5D={level}&x=1") == selection.asked(
        "&".join(f"collect[]={one}" for one in kept)
    )


def test_a_level_that_is_switched_off_may_be_left_out() -> None:
    selection = Selection(frozenset({"node", "pod"}))
    assert selection.asked("exclude[]=process&exclude[]=pod") == {"node", OURSELVES}
    assert selection.asked("exclude[]=process") == selection.asked("")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("exclude[]=nodes", r"exclude\[\]='nodes': there are container, node, ourselves, pod, process, vm"),
        ("exclude[]=", r"exclude\[\]='': there are"),
        ("exclude[]=pod&collect[]=node", r"collect\[\] and exclude\[\] together"),
        ("&".join(f"exclude[]={level}" for level in (*LEVELS, OURSELVES)), "leaves out all there is"),
    ],
)
def test_what_cannot_be_left_out_is_one_line(query: str, why: str) -> None:
    with pytest.raises(UnknownLevelError, match=why):
        page(Selection(), query)


@pytest.mark.parametrize("text", ["", "nodes", "Node", "node,pod", "../etc", "\n", "\x00", "é", "x" * 5000])
def test_a_level_that_is_not_there_is_one_line(text: str) -> None:
    with pytest.raises(UnknownLevelError, match=r"there are container, node, ourselves, pod, process, vm") as caught:
        page(Selection(), f"collect[]={quote(text)}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()


def test_a_level_that_is_switched_off_cannot_be_asked_for() -> None:
    with pytest.raises(UnknownLevelError, match=r"collect.*='process': there are node, ourselves"):
        page(Selection(frozenset({"node"})), "collect[]=process")


def test_thousands_of_parameters_are_refused() -> None:
    with pytest.raises(UnknownLevelError, match="more than 100 parameters"):
        page(Selection(), "&".join(["a=b"] * 5000))


def test_namespaces_that_are_not_allowed_have_no_series() -> None:
    text = page(Selection(namespaces=frozenset({"shop"})))
    for there in ('pod="web-0"', 'container="redis"', 'container="desk"', 'container="system"', 'comm="nginx"'):
        assert there in text
    assert 'comm="other"' in text
    for gone in ('pod="db-0"', 'namespace="bank"', "b" * 12, 'comm="postgres"'):
        assert gone not in text
    assert 'container="app",container_id="aaaaaaaaaaaa",namespace="shop",pod="web-0"} 3.0' in text, "its own figures"


def test_processes_of_hidden_namespaces_are_hidden_without_the_containers_level_too() -> None:
    text = page(Selection(frozenset({"process"}), frozenset({"shop"})))
    assert 'comm="nginx"' in text
    assert 'comm="postgres"' not in text
    assert "kepler_container_joules_total" not in text


def test_queries_do_not_make_it_keep_more_and_more() -> None:
    snapshot = busy()
    renderer = Renderer(Published(snapshot))
    for bits in range(1, 1 << len(LEVELS)):
        query = "&".join(f"collect[]={level}" for place, level in enumerate(LEVELS) if bits >> place & 1)
        text = renderer.metrics("", False, query)[0]
        assert gzip.decompress(renderer.metrics("", True, query)[0]) == text
    assert len(renderer._texts) <= 16
    whole = renderer.metrics("", True)[0]
    assert renderer.metrics("", True)[0] is whole, "the page that everybody asks for is kept all the same"
