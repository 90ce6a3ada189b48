"""Paints rows of styled text on the whole terminal, by rich, which knows colours, sizes and ``NO_COLOR``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import KeplerError
from ..views.top.text import Row

if TYPE_CHECKING:
    from rich.live import Live

_COLOURS: Mapping[str, str] = {
    **{"title": "bold cyan", "bold": "bold", "dim": "dim", "header": "reverse", "warning": "yellow", "name": "bold"},
    **{"package": "blue", "dram": "green", "gpu": "magenta", "course": "cyan", "idle": "dim", "unattributed": "yellow"},
}


def require_rich() -> None:
    """KeplerError, in one line, where rich is not installed."""
    try:
        import rich  # noqa: F401
    except ImportError as error:
        raise KeplerError(
            "the live screen needs rich: pip install 'kepler-ebpf[terminal]', or use --once for plain text"
        ) from error


class Screen:
    """The whole terminal. ``size``: its columns and rows now."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._live = self._new_live()

    def _new_live(self) -> Live:
        from rich.live import Live

        return Live(console=self._console, screen=True, auto_refresh=False)

    @property
    def size(self) -> tuple[int, int]:
        return self._console.size.width, self._console.size.height

    def paint(self, rows: Sequence[Row]) -> None:
        from rich.text import Text

        text = Text(no_wrap=True, overflow="crop", end="")
        for number, row in enumerate(rows):
            text.append("\n" if number else "")
            for span in row:
                text.append(span.text, _COLOURS.get(span.style, ""))
        self._live.update(text, refresh=True)

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """What was on the terminal before is there again when the block ends; then it can be shown anew."""
        self._live = self._new_live()
        with self._live:
            yield self
