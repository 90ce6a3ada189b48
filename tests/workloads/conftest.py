"""What tests of workloads share."""

from __future__ import annotations

import pytest


@pytest.fixture
def names_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers of names are asked again at once, not after five seconds."""
    monkeypatch.setattr("kepler_ebpf.workloads.names.lookup.INTERVAL_SECONDS", 0.02)
