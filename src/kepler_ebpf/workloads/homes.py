"""Which cgroup has which container id: one id is one series of one cgroup, whoever else makes a cgroup of that name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .text import MAX_NAME

NOBODY_KNOWS = "?"
"""The owner of a cgroup that is gone with the folder that told whose it was."""
MAX_PER_USER = 256
"""Containers of one user who may make cgroups himself; what is beyond counts as that user's other processes."""


@dataclass(frozen=True)
class Claim:
    """``label``: the id under which this cgroup has its series. ``owner``, ``id``: whose container it is, and which.

    ``first``: whether it is the first cgroup of this owner with this id. Only that one is asked names for.
    """

    label: str
    owner: str
    id: str
    first: bool


class Homes:
    """Labels of containers by owner, id and cgroup. ``owner``: the user who made the cgroup, empty for root.

    A bare id is a label of root's containers alone, a user's has ``<uid>/<id>``: whoever comes first, a user takes no
    label that a container of root's has or will have. The first cgroup of an owner with an id has this label, another
    one gets its own (``<id>@2``), so that nobody comes into another's series by giving a cgroup the other's name.
    """

    def __init__(self, most_per_user: int = MAX_PER_USER) -> None:
        self._most = most_per_user
        self._claims: dict[tuple[str, str, str], Claim] = {}
        self._places: dict[str, tuple[str, str, str]] = {}  # by label
        self._firsts: dict[tuple[str, str], str] = {}  # the home by owner and id, empty while only its helper is known
        self._of_owner: Counter[str] = Counter()

    def claim(self, owner: str, container_id: str, home: str, *, helper: bool = False) -> Claim | None:
        """The claim of this cgroup; None where its owner has too many already.

        ``helper``: the cgroup works for the container of this owner and id (conmon), wherever that has its own.
        """
        who = (owner, container_id)
        if helper:
            home = self._firsts.get(who, "")
        elif self._firsts.get(who) == "":
            self._settle(who, home)
        place = (owner, container_id, home)
        if place not in self._claims:
            if owner and self._of_owner[owner] >= self._most:
                return None
            label = self._free_label(f"{owner}/{container_id}" if owner else container_id)
            first = self._firsts.setdefault(who, home) == home
            self._claims[place] = Claim(label, owner, container_id, first)
            self._places[label] = place
            self._of_owner[owner] += 1
        return self._claims[place]

    def find(self, owner: str, container_id: str, home: str) -> Claim | None:
        """The claim of this cgroup, if it has one."""
        return self._claims.get((owner, container_id, home))

    def of(self, label: str) -> Claim | None:
        """The claim that has this label."""
        place = self._places.get(label)
        return None if place is None else self._claims[place]

    def forget(self, label: str) -> None:
        """The series of this label has ended."""
        place = self._places.pop(label, None)
        if place is None:
            return
        claim = self._claims.pop(place)
        if claim.first:
            self._firsts.pop((claim.owner, claim.id), None)
        self._of_owner[claim.owner] -= 1
        if not self._of_owner[claim.owner]:
            del self._of_owner[claim.owner]

    def _settle(self, who: tuple[str, str], home: str) -> None:
        """The container has come whose helper was seen before."""
        claim = self._claims.pop((*who, ""))
        self._firsts[who] = home
        self._claims[(*who, home)] = claim
        self._places[claim.label] = (*who, home)

    def _free_label(self, wanted: str) -> str:
        label, number = wanted[:MAX_NAME], 1
        while label in self._places:
            number += 1
            suffix = f"@{number}"
            label = wanted[: MAX_NAME - len(suffix)] + suffix
        return label
