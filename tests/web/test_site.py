"""Whether the site says that it is well, beside a collector that a test steers."""

from __future__ import annotations

import json

import pytest

from kepler_ebpf.web.site import Site
from tests.history.world import World
from tests.snapshots import everything


class Publisher:
    """A collector that a test steers."""

    def __init__(self) -> None:
        self.snapshot = everything()
        self.ticks = True
        self.age = 0.0

    def alive(self) -> bool:
        return self.ticks

    def snapshot_age_seconds(self) -> float:
        return self.age


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


def test_the_site_is_well_only_as_long_as_publications_succeed(publisher: Publisher) -> None:
    site = Site(metrics_interval=5.0)
    assert site.alive() == (True, "starting")
    assert site.ready()[0] is False
    site.serve(publisher)
    assert (site.alive(), site.ready()) == ((True, "ok"), (True, "ready"))
    publisher.age = 14.9
    assert site.alive()[0]
    publisher.age = 15.1
    for good, line in (site.alive(), site.ready()):
        assert not good
        assert "the last publication is 15 s old" in line
    assert b"kepler_node_energy_joules_total" in site.metrics("", False)[0], "what there is is served all the same"
    publisher.age, publisher.ticks = 0.0, False
    for good, line in (site.alive(), site.ready()):
        assert not good
        assert "sampler" in line


def test_a_start_that_is_never_over_is_not_alive() -> None:
    now = [5.0]
    site = Site(metrics_interval=5.0, clock=lambda: now[0])
    now[0] += 119.0
    assert (site.alive(), site.ready()) == ((True, "starting"), (False, "starting"))
    now[0] += 2.0
    for good, line in (site.alive(), site.ready()):
        assert not good
        assert line == "starting since 121 s: see the log for what is waited for"


@pytest.mark.parametrize(("interval", "stale"), [(0.5, 10.0), (5.0, 15.0), (60.0, 180.0)])
def test_a_snapshot_is_stale_after_three_intervals_and_ten_seconds(interval: float, stale: float) -> None:
    publisher, site = Publisher(), Site(interval)
    site.serve(publisher)
    publisher.age = stale - 0.1
    assert site.ready()[0]
    publisher.age = stale + 0.1
    assert not site.ready()[0]


def test_the_landing_page_says_why_there_are_no_names(publisher: Publisher) -> None:
    site = Site(5.0)
    assert "nodes-proxy" not in site.landing()
    site.serve(publisher)
    page = site.landing()
    assert "names from kubelet (403)</th><td>2 requests failed: " in page
    assert "overlay nodes-proxy" in page


def test_the_page_is_told_what_there_is_and_bad_queries_are_refused() -> None:
    publisher, site, world = Publisher(), Site(5.0), World()
    assert json.loads(site.live(""))["steps"] == []
    for _ in range(25):
        world.frame(1.0)
    site.serve(publisher, world.history)
    told = json.loads(site.live("by=container&since=1"))
    assert (told["by"], [step[0] for step in told["steps"]]) == ("container", [2])
    assert told["health"] == [["/healthz", True, "ok"], ["/readyz", True, "ready"]]
    assert told["run"] != json.loads(Site(5.0).live(""))["run"]
    for query in ("by=nobody", "since=-1", "since=1e9", "since=" + "9" * 400, "since=%E0%A5%A7"):
        with pytest.raises(ValueError, match="must be"):
            site.live(query)
