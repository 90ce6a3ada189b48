"""A bounded table in which nobody can push out what others have in it."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

V = TypeVar("V")


class FairTable(Generic[V]):
    """Values by number. When it is full, whoever has most entries loses the oldest of these. ``owner``: any text.

    Room is made for several at once, as that takes time by the number of owners.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[int, tuple[str, V]] = {}
        self._of_owner: dict[str, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, number: int) -> V | None:
        """The value, None where there is none."""
        found = self._values.get(number)
        return None if found is None else found[1]

    def owner(self, number: int) -> str:
        """Whose entry it is, empty where there is none."""
        found = self._values.get(number)
        return "" if found is None else found[0]

    def put(self, number: int, value: V, owner: str) -> None:
        """Add or replace an entry."""
        self.pop(number)
        if len(self._values) >= self._most:
            self._make_room()
        self._values[number] = (owner, value)
        self._of_owner.setdefault(owner, {})[number] = None

    def _make_room(self) -> None:
        sizes = [(-len(entries), owner) for owner, entries in self._of_owner.items()]
        heapq.heapify(sizes)
        for _ in range(max(1, self._most // 64)):
            size, owner = heapq.heappop(sizes)
            self.pop(next(iter(self._of_owner[owner])))
            if size < -1:
                heapq.heappush(sizes, (size + 1, owner))

    def pop(self, number: int) -> V | None:
        """Take an entry out."""
        found = self._values.pop(number, None)
        if found is None:
            return None
        owner, value = found
        entries = self._of_owner[owner]
        del entries[number]
        if not entries:
            del self._of_owner[owner]
        return value
