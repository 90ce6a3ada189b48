"""Which sensors of the machine's chips measure packages or DRAM, and of which socket.

What a sensor measures, the chip's ``name`` and the sensor's ``label`` tell. Only known chips are taken, or those that
the user names, because many boards publish the same power twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..host.fs import HostFS, read_text
from .places import Places
from .sensor_rules import Rule
from .source import ALL_PACKAGES, Domain

_MOST_CHIPS = 1024
_LONGEST_AVERAGE_MS = 1000  # a mean over longer, or since the chip was started, says nothing of a sample


@dataclass(frozen=True)
class Chip:
    """``folder``: where its files are. ``device``: what it is, whatever number it has now; where that cannot be told
    (``is_named`` false) its number stands in."""

    folder: Path
    device: str
    is_named: bool


@dataclass(frozen=True)
class Sensor:
    """``paths``: the file to read, or a pair of volts and amperes. ``key``: what it is: device and number on it.
    ``domain``: what it measures as far as the machine tells now."""

    key: tuple[str, str]
    domain: Domain
    paths: tuple[Path, ...]
    counts_energy: bool


@dataclass(frozen=True)
class _Match:
    rule: Rule
    chip: Chip
    socket: int | None  # as the label says it
    number: str  # of the sensor on its chip: power1, energy2
    paths: tuple[Path, ...]
    counts_energy: bool

    @cached_property
    def is_dead(self) -> bool:
        """Whether it counts energy, and cannot be read now."""
        return self.counts_energy and _number(self.paths[0]) is None


class Sockets:
    """Which socket a chip is of that does not say so: one each, in the order they were met, and for life."""

    def __init__(self) -> None:
        self._places: dict[Rule, dict[str, int]] = {}

    def of(self, rule: Rule, chips: Sequence[Chip]) -> dict[str, int]:
        """By device, of these chips of one rule and all that were there before."""
        places = self._places.setdefault(rule, {})
        for chip in chips:
            if chip.device in places:
                continue
            gone = places.keys() - {one.device for one in chips}
            if gone and not chip.is_named:  # come back under another number
                places[chip.device] = places.pop(min(gone))
            else:
                places[chip.device] = next(n for n in range(len(places) + 1) if n not in places.values())
        return places


def find_sensors(
    fs: HostFS, rules: Sequence[Rule], places: Places, source: str, sockets_of: Sockets
) -> tuple[list[Sensor], tuple[str, ...]]:
    """Every sensor that a rule knows, and what is left out and why. ``sockets_of``: kept from call to call."""
    notes: list[str] = []
    matches = [match for chip in _chips(fs) for match in _matches(chip, rules, notes)]
    sensors: dict[tuple[str, str], Sensor] = {}  # by component and label: there is one series of each
    rule_of: dict[tuple[str, str], Rule] = {}  # an earlier rule's total is not added to a later one's parts
    for rule in rules:
        of_rule = [match for match in matches if match.rule == rule]
        if rule.by_node:
            of_rule = _one_a_package(of_rule, places, fs, notes)
        of_chip = sockets_of.of(rule, list(dict.fromkeys(m.chip for m in of_rule if m.socket is None)))
        sockets = [match.socket for match in of_rule if match.socket is not None]
        for match in of_rule:
            if match.socket is not None:
                rank = places.rank(match.socket, sockets, source)
                label = places.label(match.socket, rank)
            else:
                # Chips of one rule that name no socket are one a socket, in order; all CPUs pay where that cannot be.
                place = of_chip[match.chip.device]
                rank = place if len(of_chip) == places.packages else ALL_PACKAGES
                label = str(place)
            domain = Domain(rule.component, rank, source, label)
            others = [m for m in of_rule if m is not match and (m.chip, m.socket) == (match.chip, match.socket)]
            # The same socket's power is not added to its energy, but stands in for one that cannot be read.
            if not match.counts_energy and any(other.counts_energy and not other.is_dead for other in others):
                continue
            if match.is_dead and any(not other.counts_energy for other in others):
                notes.append(f"{match.paths[0]} cannot be read: the power of the same socket is")
                continue
            series = (domain.component, domain.zone)
            if others and rule_of.get(series) is rule:
                domain = Domain(rule.component, rank, source, f"{label}-{match.number}")
                series = (domain.component, domain.zone)
                notes.append(f"{match.paths[0]}: a second sensor of one rule on one chip: both are added up")
            sensor = Sensor((match.chip.device, match.number), domain, match.paths, match.counts_energy)
            first, _ = sensors.setdefault(series, sensor), rule_of.setdefault(series, rule)
            if first.paths != match.paths:
                notes.append(f"{match.paths[0]}: {domain.component} {domain.zone} is {first.paths[0]}'s: left out")
    return list(sensors.values()), tuple(notes)


def _one_a_package(matches: Sequence[_Match], places: Places, fs: HostFS, notes: list[str]) -> list[_Match]:
    """Sensors that are numbered by NUMA nodes, if these are: the first of each package, with the package's number."""
    of_node = places.of_nodes(fs)
    if not of_node or len({match.socket for match in matches}) <= places.packages:
        return list(matches)
    first: dict[int, _Match] = {}
    for match in sorted(matches, key=lambda match: match.socket or 0):
        package = of_node.get(match.socket or 0)
        if package is not None and first.setdefault(package, match) is match:
            continue
        why = "no CPU is on it" if package is None else f"it shows its package's, as {first[package].paths[0]} does"
        notes.append(f"{match.paths[0]} is NUMA node {match.socket}'s: {why}: left out")
    return [replace(match, socket=package) for package, match in first.items()]


def _chips(fs: HostFS) -> list[Chip]:
    """Chips, in the order of their devices, which is the same at every boot; without these, of their numbers. Files are
    in their folder, or in ``device/`` (drivers before Linux 3.13 and the ACPI power meter)."""
    folders = sorted((fs.sys / "class/hwmon").glob("hwmon*"), key=lambda path: (len(path.name), path.name))
    chips: list[Chip] = []
    several: Counter[str] = Counter()
    for folder in folders[:_MOST_CHIPS]:
        device = _device(folder)
        several[device or folder.name] += 1
        place = f"{device or folder.name}#{several[device or folder.name]}"
        chips += [Chip(at, place, bool(device)) for at in (folder, folder / "device") if (at / "name").exists()]
    return sorted(chips, key=lambda chip: _natural(chip.device))


def _device(folder: Path) -> str:
    """The device behind a chip; empty where no link tells."""
    try:
        if (folder / "device").is_symlink():
            return str((folder / "device").resolve())
        return str(folder.resolve().parent.parent) if folder.is_symlink() else ""
    except (OSError, RuntimeError):
        return ""


def _natural(text: str) -> list[tuple[int, str]]:
    """So that ``hwmon10`` comes after ``hwmon9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _matches(chip: Chip, rules: Sequence[Rule], notes: list[str]) -> list[_Match]:
    try:
        name = read_text(chip.folder / "name", 256)
    except OSError:
        return []
    known = [rule for rule in rules if re.fullmatch(rule.chip, name)]
    if not known:
        return []
    values, pairs, said = _values(chip.folder), _pairs(chip.folder), len(notes)
    found = _of_values(chip, values, known, notes) or _of_values(chip, pairs, known, notes)
    if (values or pairs) and not found and len(notes) == said:
        labels = dict.fromkeys(
            _label(chip.folder, path) or "no label" for paths, _ in (*values, *pairs) for path in paths
        )
        notes.append(f"{chip.folder} ({name}): not known what it measures ({', '.join(labels)}): left out, see --hwmon")
    return found


def _of_values(
    chip: Chip, values: Sequence[tuple[tuple[Path, ...], bool]], known: Sequence[Rule], notes: list[str]
) -> list[_Match]:
    found = []
    for paths, counts_energy in values:
        numbers = [path.name.partition("_")[0] for path in paths]
        labels = {_label(chip.folder, path) for path in paths}
        for rule in known:
            match = next((m for label in labels if (m := re.fullmatch(rule.label, label))), None)
            if match is None:
                continue
            off = next((number for number in numbers if _is_off(chip.folder, number)), None)
            if off is not None:
                notes.append(f"{paths[0]}: switched off ({off}_enable is 0)")
                continue
            socket = int(match[1]) if match.groups() and match[1] and match[1].isdigit() else None
            found.append(_Match(rule, chip, socket, numbers[0], paths, counts_energy))
            break
    return found


def _values(chip: Path) -> list[tuple[tuple[Path, ...], bool]]:
    """Files to read, energy first, and whether each counts energy."""
    energy = sorted(chip.glob("energy*_input"))
    averages = {path.name.partition("_")[0]: path for path in sorted(chip.glob("power*_average"))}
    inputs = {path.name.partition("_")[0]: path for path in sorted(chip.glob("power*_input"))}
    # A mean of late misses nothing between two readings, as a moment's power does.
    means = {number: path for number, path in averages.items() if number not in inputs or _is_of_late(path)}
    power = sorted({**inputs, **means}.values())
    return [*(((path,), True) for path in energy), *(((path,), False) for path in power)]


def _pairs(chip: Path) -> list[tuple[tuple[Path, ...], bool]]:
    """Volts and amperes, for chips that give no power: those of one label, else of one number.

    A number alone can be two rails: volts are counted from 0, amperes from 1 (hwmon_attr_base, drivers/hwmon/hwmon.c).
    """
    amperes = {path.name.partition("_")[0][len("curr") :]: path for path in chip.glob("curr*_input")}
    volts = {path.name.partition("_")[0][len("in") :]: path for path in chip.glob("in*_input")}
    rail_of = {path: _rail(chip, path) for path in (*amperes.values(), *volts.values())}
    volts_of = {rail_of[path]: path for path in volts.values() if rail_of[path]}
    taken = {rail_of[path] for path in amperes.values()} & volts_of.keys()
    pairs: list[tuple[tuple[Path, ...], bool]] = []
    for number, ampere in sorted(amperes.items()):
        volt = volts_of.get(rail_of[ampere], volts.get(number))
        if volt is not None and (rail_of[volt] == rail_of[ampere] or rail_of[volt] not in taken):
            pairs.append(((volt, ampere), False))
    return pairs


def _rail(chip: Path, value: Path) -> str:
    """What a voltage or a current is of, as far as its label tells: pmbus has "vout1" and "iout1", Ampere's "vout0 CORE
    VRD" and "iout1 CORE VRD"."""
    return re.sub("^[vi]((in|out)[0-9]* |(?=in|out))", "", _label(chip, value))


def _number(path: Path) -> int | None:
    try:
        return int(read_text(path))
    except (OSError, ValueError):
        return None


def _is_of_late(average: Path) -> bool:
    """Whether a sensor's mean tells something, and is one over a second at most, as far as the chip tells."""
    interval = _number(average.with_name(f"{average.name}_interval"))
    return (_number(average) or 0) > 0 and (interval is None or interval <= _LONGEST_AVERAGE_MS)


def _label(chip: Path, value: Path) -> str:
    """A sensor's label; ACPI power meters have theirs in ``power1_oem_info``."""
    number = value.name.partition("_")[0]
    for name in (f"{number}_label", f"{number}_oem_info"):
        try:
            return read_text(chip / name, 256)
        except OSError:
            continue
    return ""


def _is_off(chip: Path, number: str) -> bool:
    try:
        return read_text(chip / f"{number}_enable", 16) == "0"
    except OSError:
        return False
