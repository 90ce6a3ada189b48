"""What the operating system may do to a command: one line on standard error, never a traceback."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kepler_ebpf import cli
from kepler_ebpf.__main__ import main
from tests.needs import require

COMMAND = [sys.executable, "-m", "kepler_ebpf"]


HERE = os.pathsep.join(map(os.path.abspath, sys.path))
"""Where modules are, for a process that begins in another folder."""


def run(*arguments: str, shell: str = '"$@"', before: Callable[[], None] | None = None) -> tuple[int, str, str]:
    if arguments == ("doctor",):
        require(True, "doctor compiles and loads the programs where it may: seconds each time")
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=before,
        env={**os.environ, "PYTHONPATH": HERE, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    )
    return done.returncode, done.stdout, done.stderr


def test_process_1_of_a_container_is_ended_before_a_verb_handles_signals() -> None:
    require(os.geteuid() == 0, "unshare --pid needs root")
    code = (
        "import os, signal\n"
        "from kepler_ebpf import __main__, cli\n"
        "cli.run = lambda *_: os.kill(1, signal.SIGTERM)\n"
        "__main__.main()\n"
    )
    done = subprocess.run(["unshare", "--pid", "--fork", sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("verb", ["--help", "doctor"])
def test_output_that_cannot_be_written_is_one_line(verb: str) -> None:
    code, _, error = run(verb, shell='"$@" >/dev/full')
    assert code == 1
    assert error == "kepler-ebpf: cannot write standard output: No space left on device\n"


def test_output_that_is_more_than_a_buffer_and_cannot_be_written_is_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report's table goes past the buffer, and past what prints text."""

    def run(*_: object) -> int:
        sys.stdout.buffer.write(b"x" * 100_000)
        return 0

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "__stdout__", full)
        monkeypatch.setattr(cli, "run", run)
        assert main() == 1
    assert capfd.readouterr().err == "kepler-ebpf: cannot write standard output: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_shell_closed(closed: str) -> None:
    code, output, error = run("doctor", shell=f'"$@" {closed}')
    assert code in (0, 1), "what doctor says of this machine"
    assert error == ""
    assert bool(output) == (">&-" not in closed.replace("2>&-", ""))


def test_a_reader_that_has_seen_enough() -> None:
    _, output, error = run("doctor", shell='"$@" | head -n 1')
    assert output.count("\n") == 1
    assert error == ""


_A_VERB = """
import os, sys, time
from kepler_ebpf import cli, __main__
def run(*_):
    time.sleep(0.2)  # until whoever reads has gone
    {work}
    return 7
cli.run = run
sys.exit(__main__.main())
"""


@pytest.mark.parametrize(
    ("work", "where", "code"),
    [
        ("print('said', file=sys.stderr, flush=True)", "2>&1 >/dev/null | true", 7),
        ("print('x' * 100_000, file=sys.stderr)", "2>&1 >/dev/null | true", 7),
        ("print('said', file=sys.stderr, flush=True)", "2>/dev/full", 7),
        ("sys.stdout.buffer.write(b'said')", "| true", 7),
        ("print('said', flush=True)", "| true", 0),
        ("raise BrokenPipeError(32, 'Broken pipe')", "", 1),
    ],
    ids=["errors", "many errors", "errors to a full disk", "at the end", "in the midst", "another pipe than those"],
)
def test_a_stream_that_nobody_reads_costs_no_status(work: str, where: str, code: int) -> None:
    """But what a verb could not get through is no failure of it, where it was for whoever reads no more."""
    line = f'{{ "$@"; echo $? >&3; }} 3>&4 {where}'
    done = subprocess.run(
        ["sh", "-c", f"exec 4>&1; {line}", "sh", sys.executable, "-c", _A_VERB.format(work=work)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": ""},  # or nothing is left for the end
    )
    assert done.stdout == f"{code}\n"
    assert "Traceback" not in done.stderr


def test_a_standard_error_that_does_not_wait_loses_nothing() -> None:
    """Whoever shares a pipe or a terminal with us may have made it so."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    program = _A_VERB.format(work="print('x' * 1_000_000, file=sys.stderr)")
    with subprocess.Popen([sys.executable, "-c", program], stderr=write) as process:
        os.close(write)
        with open(read, "rb") as said:
            assert len(said.read()) == 1_000_001
    assert process.returncode == 7


def test_a_locale_that_cannot_say_an_arrow() -> None:
    code, output, error = run("doctor")
    assert code in (0, 1)
    assert output.isascii()
    assert output
    assert error == ""


@pytest.mark.parametrize("mebibytes", [60, 200])
def test_too_little_memory_is_one_line(mebibytes: int) -> None:
    limit = mebibytes << 20
    _, _, error = run("doctor", before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert "Traceback" not in error
    assert error.count("\n") <= 1
    assert len(error) < 400, "what went wrong, not what a library advises"


def test_too_few_threads_is_one_line() -> None:
    require(os.geteuid() == 0, "root alone can become somebody whom the limit counts for")

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        os.setresuid(54321, 54321, 54321)

    code, _, error = run("serve", "--listen", "127.0.0.1:0", shell='exec "$@"', before=few)
    assert code == 1
    assert error.startswith("kepler-ebpf: can't start new thread: a limit is too low (ulimit -u, pids.max")
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["peak 3 µW ▼", "a ± b — 5 × 3 → …", "".join("▁▂▃▄▅▆▇█")])
def test_a_locale_that_cannot_say_a_bar(text: str) -> None:
    program = f"import kepler_ebpf.__main__ as one; one._write_in_any_encoding(); print({text!a})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": HERE, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    )
    assert done.stdout.isascii()
    assert "\\" not in done.stdout
    assert len(done.stdout) <= len(text) + 6


def test_too_few_file_descriptors_are_one_line() -> None:
    code, _, error = run("doctor", before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))
    assert code == 1
    assert error == "kepler-ebpf: OSError: [Errno 24] Too many open files\n"


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code, output, error = run("doctor", shell=f'cd {gone} && rmdir {gone} && "$@"')
    assert code in (0, 1)
    assert output
    assert "Traceback" not in error


@pytest.mark.parametrize("verb", ["serve", "record", "doctor", "health"])
def test_an_option_that_is_no_text_is_one_line(verb: str) -> None:
    code, output, error = run(verb, "--procfs=\udcff\n")
    assert code == 2
    assert output == ""
    assert error.startswith("kepler-ebpf: ")
    assert error.count("\n") == 1
