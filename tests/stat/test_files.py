"""What is handed out where a file that the user named cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.cli import run
from kepler_ebpf.errors import KeplerError
from kepler_ebpf.stat.files import hand_out, opened, require_different

FULL, REFUSED = "/dev/full", r"^cannot write /dev/full: No space left on device$"


@pytest.mark.parametrize("size", [10, 1 << 20], ids=["in the buffer", "more than that"])
def test_a_full_disk_is_one_line_that_names_the_file(size: int) -> None:
    with opened(FULL) as file, pytest.raises(KeplerError, match=REFUSED):
        hand_out("x" * size, file, "", None)


def test_the_figures_are_on_the_screen_and_in_the_other_file_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    for output, document in ((FULL, str(file)), (None, FULL), (FULL, FULL)):
        with opened(output) as first, opened(document) as second, pytest.raises(KeplerError, match=REFUSED):
            hand_out("figures\n", first, "document\n", second)
        assert capsys.readouterr().err == "figures\n"
    assert file.read_text() == "document\n"
    with opened(str(file)) as first, opened(FULL) as second, pytest.raises(KeplerError, match=REFUSED):
        hand_out("figures\n", first, "document\n", second)
    assert capsys.readouterr().err == ""
    assert file.read_text() == "figures\n"


def test_a_file_is_utf_8_whatever_is_written(tmp_path: Path) -> None:
    with opened(str(tmp_path / "file")) as file:
        assert file is not None
        file.write("\udcff é\n")
    assert (tmp_path / "file").read_bytes() == "? é\n".encode()


def test_a_file_is_as_it_was_until_there_is_something_to_write(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new"
    kept.write_text("what it held, longer than what comes\n")
    for path in (kept, new):
        with pytest.raises(KeplerError, match="nothing"), opened(str(path)):
            raise KeplerError("nothing was measured")
    assert kept.read_text() == "what it held, longer than what comes\n"
    assert list(tmp_path.iterdir()) == [kept]
    with opened(str(kept)) as file:
        hand_out("figures\n", file, "", None)
    assert kept.read_text() == "figures\n"


def test_two_outputs_to_one_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to("file")
    for first, second in (("file", "file"), ("file", "link"), ("file", "../" + tmp_path.name + "/file")):
        words = [
            "stat",
            "-o",
            f"{tmp_path}/{first}",
            "--json",
            f"{tmp_path}/{second}",
            "--",
            "touch",
            f"{tmp_path}/ran",
        ]
        assert run(words, {}) == 2
        said = f"kepler-ebpf: -o {tmp_path}/{first} and --json {tmp_path}/{second} are one file: expected two\n"
        assert capsys.readouterr().err == said
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
    assert run(["stat", "-o", "-", "--json", "-", "--", "touch", f"{tmp_path}/ran"], {}) == 2
    assert capsys.readouterr().err == "kepler-ebpf: -o - and --json - are one file: expected two\n"
    for first, second in (("/dev/null", "/dev/null"), (str(tmp_path / "a"), str(tmp_path / "b"))):
        with opened(first) as output, opened(second) as json_file:
            require_different(output, json_file)


def test_a_dash_is_standard_output_for_every_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("-") as output:
        hand_out("figures\n", output, "", None)
        hand_out("more\n", None, "document\n", output)
    assert capsys.readouterr() == ("figures\ndocument\n", "more\n")
    assert list(tmp_path.iterdir()) == []
