"""What is handed out where a file that the user named cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.errors import KeplerError
from kepler_ebpf.stat.files import hand_out, opened

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
