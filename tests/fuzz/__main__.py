"""Fuzz every parser of outside data by coverage (atheris, libFuzzer), each for its part of the time: ``make fuzz``.

Inputs that lead further are kept in ``build/fuzz`` from run to run; one that breaks a target is left there, and named.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path("build/fuzz")
_GRACE_SECONDS = 300.0
_MOST_BYTES = 4096


def fuzz(name: str, seconds: int) -> None:
    """Run one target in this process; it ends with it (libFuzzer's exit code)."""
    logging.disable(logging.CRITICAL)
    try:
        import atheris
    except ImportError:
        sys.exit("make fuzz needs atheris: pip install -e '.[fuzz]' (wheels for CPython on x86-64)")
    with atheris.instrument_imports(include=["kepler_ebpf", "h11"]):
        from tests.fuzz.targets import SEEDS, TARGETS
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={_MOST_BYTES}", f"-artifact_prefix={FOLDER}/{name}-"]
    atheris.Setup(
        [sys.argv[0], *options, "-print_final_stats=1", "-timeout=20", "-rss_limit_mb=2048", str(corpus)], TARGETS[name]
    )
    atheris.Fuzz()


def main() -> int:
    """All targets one after the other, and a table. Returns 1 where one broke."""
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    arguments.add_argument("target", nargs="?", help="one of them; all where none is named")
    arguments.add_argument("--seconds", type=int, default=120, help="for all of them together (120)")
    arguments.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.here:
        fuzz(given.target, given.seconds)
        return 0
    from tests.fuzz.targets import TARGETS

    names = [given.target] if given.target else list(TARGETS)
    if set(names) - set(TARGETS):
        arguments.error(f"no target {given.target!r}: one of {', '.join(TARGETS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    each = max(given.seconds // len(names), 1)
    broken = []
    print(f"| target | inputs | edges | {each} s each |\n|---|---|---|---|", flush=True)
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", name, "--here", "--seconds", str(each)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=each + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:  # a single input is given 20 s, so that is not it
            print(f"| {name} | - | - | NOT DONE after {each + _GRACE_SECONDS:g} s |", flush=True)
            broken.append(name)
            continue
        inputs = re.findall(r"stat::number_of_executed_units:\s+(\d+)", run.stderr)
        edges = re.findall(r"cov: (\d+)", run.stderr)
        kept = re.findall(r"Test unit written to (\S+)", run.stderr)
        result = "nothing found" if run.returncode == 0 else f"BROKEN by {', '.join(kept) or 'something else'}"
        print(f"| {name} | {(inputs or ['-'])[-1]} | {(edges or ['-'])[-1]} | {result} |", flush=True)
        if run.returncode != 0:
            broken.append(name)
            (FOLDER / f"{name}.log").write_text(run.stdout + run.stderr)
            print(run.stdout[-3000:] + run.stderr[-3000:], file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
