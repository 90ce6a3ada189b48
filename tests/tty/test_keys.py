"""What a terminal sends, as keys: on a real pseudo-terminal, and whatever it sends."""

from __future__ import annotations

import os
import pty
import termios

from hypothesis import given
from hypothesis import strategies as st

from kepler_ebpf.tty.keys import pressed_keys, split


def test_keys_of_a_real_terminal_by_name_and_the_terminal_is_as_before() -> None:
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with pressed_keys(theirs) as keys:
            os.write(ours, b"p\x1b[A\x1b[5~ /")
            found: list[str] = []
            while len(found) < 5:
                found += keys.wait(10)
            assert found == ["p", "up", "pageup", " ", "/"]
            assert keys.wait(0.0) == []
            os.write(ours, b"\x1b")
            assert keys.wait(10) == ["escape"]
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_key_without_a_name_types_nothing() -> None:
    assert list(split("a\x1b[15~b\x1b[1;5Cc")) == ["a", "b", "c"]
    assert list(split("\x1b[")) == []


@given(st.text(alphabet="\x1b[OA5~;q \t\r\x7fé", max_size=20))
def test_whatever_is_sent_ends_and_no_key_has_a_control_character(text: str) -> None:
    for key in split(text):
        assert len(key) == 1 or key.isalpha() or key == "ctrl-c"
        assert key.isprintable() or key == "\x1b"
