"""Whether rates of a level add up to the node's in a real Prometheus, beside 50 forks a second: ``make rates``.

PROMETHEUS: paths of programs (default: whatever ``prometheus`` is). Versions that read OpenMetrics' ``_created`` are
asked to; older ones pass over the request. Means of twelve moments of a minute. Needs root; takes seven minutes each.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.site import Prometheus, prometheus

from benchmarks.footprint import collector
from benchmarks.report import Figure, fill, table

_COLLECTOR = 9941
_WINDOW_SECONDS = 120
_SETTLE_SECONDS = 20.0
_MOMENTS, _BETWEEN_SECONDS = 12, 5.0
_FAMILIES = {"processes": "process", "containers": "container"}
# Most of them end within milliseconds; one in twenty works on and off for seconds, as a build has both.
_CHURN = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
number, due = 0, time.monotonic()
while True:
    if os.fork() == 0:
        if number % 20:
            burn(0.004)
        else:
            for _ in range(40):
                burn(0.005)
                time.sleep(0.1)
        os._exit(0)
    number, due = number + 1, due + 0.02
    time.sleep(max(due - time.monotonic(), 0))
"""
_NODE = " - ".join(
    f"sum(increase(kepler_node_{name}_joules_total[{_WINDOW_SECONDS}s]))" for name in ("energy", "idle", "unattributed")
)


@contextmanager
def _churn() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-S", "-c", _CHURN]) as process:
        try:
            yield
        finally:
            process.terminate()


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d[\w.]*)", said.stdout + said.stderr)
    return found[1] if found else "of a version that it does not tell"


def _ask(server: Prometheus, expression: str) -> float:
    (result,) = server.query(expression)
    return float(result["value"][1])


def _measure(program: str, published: int, scraped: int) -> list[Figure]:
    """How far the sums are from the node, in per cent, where it is published and scraped every so many seconds."""
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "prometheus.yml"
        settings.write_text(
            f"global: {{scrape_interval: {scraped}s, scrape_timeout: {min(scraped, 10)}s}}\n"
            "scrape_configs:\n"
            f"- {{job_name: kepler, static_configs: [{{targets: ['127.0.0.1:{_COLLECTOR}']}}]}}\n"
        )
        feature = "--enable-feature=created-timestamp-zero-ingestion"
        with (
            collector(_COLLECTOR, "--metrics-interval", f"{published}s"),
            _churn(),
            prometheus(settings, feature, program=program) as server,
        ):
            time.sleep(_SETTLE_SECONDS + _WINDOW_SECONDS + scraped)
            # Prometheus carries each series on to the ends of the window as it has been so far, those of the dead too:
            # at one moment that is too much, at another too little.
            whole, levels = 0.0, dict.fromkeys(_FAMILIES, 0.0)
            for _ in range(_MOMENTS):
                whole += _ask(server, _NODE) / _MOMENTS
                for level, family in _FAMILIES.items():
                    increase = f"sum(increase(kepler_{family}_joules_total[{_WINDOW_SECONDS}s]))"
                    levels[level] += _ask(server, increase) / _MOMENTS
                time.sleep(_BETWEEN_SECONDS)
    name = f"published each {published} s, scraped each {scraped} s"
    return [
        Figure(f"{name}: {level}", 100 * (joules / whole - 1), "%", note=f"{joules:.1f} of {whole:.1f} J")
        for level, joules in levels.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus", nargs="*", default=["prometheus"])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page's marked section")
    arguments = parser.parse_args()
    tables = []
    for program in arguments.prometheus:
        tables.append(
            f"Prometheus {_version(program)}\n\n{table([*_measure(program, 1, 1), *_measure(program, 5, 15)])}"
        )
        print(tables[-1], flush=True)
    if arguments.write:
        whole = "\n\n".join(tables)
        arguments.write.write_text(fill(arguments.write.read_text(), "rates", f"```\n{whole}\n```"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
