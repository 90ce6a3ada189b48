"""CPU requests as the kubelet tells them."""

from __future__ import annotations

import pytest

from kepler_ebpf.workloads.names.kubelet import cpu_quantity


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        ("0.25", 0.25),
        (1, 1.0),
        (None, 0.0),
        ("", 0.0),
        ("lots", 0.0),
        ("-1", 0.0),
        ("1Gi", 0.0),
    ],
)
def test_cpu_quantity(text: object, cpus: float) -> None:
    assert cpu_quantity(text) == cpus
