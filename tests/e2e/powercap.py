"""A package's counter that runs on whoever reads it, and what a collector says of it: exact on a busy machine too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import Running
from tests.e2e.site import Ticker

STEP_JOULES = 1.0
RANGE = 262_143_328_850


@dataclass
class Counter:
    """A package's counter of 10 W (or less, where the machine is busy)."""

    sysfs: Path
    joules: float = 0.0

    def __post_init__(self) -> None:
        self.zone = self.sysfs / "class/powercap/intel-rapl:0"
        self.zone.mkdir(parents=True)
        for name in ("devices", "fs", "kernel"):
            (self.sysfs / name).symlink_to(f"/sys/{name}")
        (self.zone / "name").write_text("package-0\n")
        (self.zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
        self.add(0.0)

    def add(self, joules: float) -> None:
        self.joules += joules
        text = f"{round(self.joules * 1e6):015}\n"  # of one length: nothing of a longer number stays behind it
        if (self.zone / "energy_uj").exists():
            with (self.zone / "energy_uj").open("r+") as file:  # never empty, as a reader may come at any time
                file.write(text)
        else:
            (self.zone / "energy_uj").write_text(text)


@dataclass(frozen=True)
class Seen:
    """A page, and what the counter can have shown when it was made."""

    joules: float
    least: float
    most: float
    rest: float
    page: dict[str, list[tuple[dict[str, str], float]]]


def see(collector: Running, counter: Counter) -> Seen:
    """The first page that was published wholly after now."""
    least, began, changes, last = counter.joules, time.monotonic(), 0, None
    while time.monotonic() - began < 60:
        page = collector.samples()
        now = page["kepler_ebpf_samples_total"][0][1]
        changes += last is not None and now != last
        last = now
        if changes >= 2 and "kepler_node_package_joules_total" in page:
            ((_, joules),) = page["kepler_node_package_joules_total"]
            rest = sum(
                value
                for name in ("kepler_node_idle_joules_total", "kepler_node_unattributed_joules_total")
                for labels, value in page[name]
                if labels["component"] == "package"
            )
            return Seen(joules, least, counter.joules, rest, page)
        time.sleep(0.05)
    raise AssertionError(f"no package in a minute: {collector.log.read_text()}")


@contextmanager
def ticking(folder: Path) -> Iterator[Counter]:
    """A counter in a /sys of its own that draws about 10 W."""
    one = Counter(folder)
    with Ticker(lambda _: one.add(STEP_JOULES)):
        yield one
