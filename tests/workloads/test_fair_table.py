"""A bounded table in which nobody can push out what others have."""

from __future__ import annotations

from kepler_ebpf.workloads.fair_table import FairTable


def test_whoever_has_most_loses_his_oldest() -> None:
    table: FairTable[str] = FairTable(64)
    for number in range(5):
        table.put(number, "mine", "me")
    for number in range(1000, 11_000):
        table.put(number, "flood", "attacker")
    assert [table.get(number) for number in range(5)] == ["mine"] * 5
    assert table.get(1000) is None
    assert table.get(10_999) == "flood"
    assert len(table) == 64
    assert table.pop(3) == "mine"
    assert table.pop(3) is None
    assert len(table) == 63


def test_it_makes_room_though_everybody_has_one_entry_only() -> None:
    table: FairTable[int] = FairTable(256)
    for number in range(5000):
        table.put(number, number, str(number))
        assert len(table) <= 256
    assert table.get(4999) == 4999
