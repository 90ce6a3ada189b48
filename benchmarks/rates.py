"""Whether rates of a level add up to the node's in a real Prometheus, beside 50 forks a second: ``make rates``.

PROMETHEUS: paths of programs (default: whatever ``prometheus`` is). Versions that read OpenMetrics' ``_created`` are
asked to; older ones pass over the request. Needs root; takes five minutes each.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.footprint import scrape
from benchmarks.report import Figure, fill, table

_COLLECTOR, _PROMETHEUS = 9941, 9942
_WINDOW_SECONDS = 120
_SETTLE_SECONDS = 20.0
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
def running(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d[\w.]*)", said.stdout + said.stderr)
    return found[1] if found else "of a version that it does not tell"


def _answers(port: int, path: str) -> None:
    """Wait until this address answers. Raises TimeoutError."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port}")


def _ask(expression: str) -> float:
    address = f"http://127.0.0.1:{_PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        (result,) = json.load(answer)["data"]["result"]
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
        ours = (sys.executable, "-m", "kepler_ebpf", "serve", "--listen", f"127.0.0.1:{_COLLECTOR}")
        theirs = (
            *(program, f"--config.file={settings}", f"--storage.tsdb.path={place}/data"),
            *(f"--web.listen-address=127.0.0.1:{_PROMETHEUS}", "--enable-feature=created-timestamp-zero-ingestion"),
        )
        with (
            running(*ours, "--metrics-interval", f"{published}s"),
            running(sys.executable, "-S", "-c", _CHURN),
        ):
            _answers(_COLLECTOR, "/readyz")
            scrape(_COLLECTOR)
            with running(*theirs):
                _answers(_PROMETHEUS, "/-/ready")
                time.sleep(_SETTLE_SECONDS + _WINDOW_SECONDS + scraped)
                whole = _ask(_NODE)
                levels = {
                    "processes": _ask(f"sum(increase(kepler_process_joules_total[{_WINDOW_SECONDS}s]))"),
                    "containers": _ask(f"sum(increase(kepler_container_joules_total[{_WINDOW_SECONDS}s]))"),
                }
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
