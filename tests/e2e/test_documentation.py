"""What a live collector says is what docs/metrics.md says, and the other way round."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Running

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, set[str], str]]:
    """Type, labels and meaning by the family's name."""
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in _ROW.findall(PAGE.read_text())
    }


def test_families_labels_and_help_texts_agree(serve: Callable[..., Running]) -> None:
    collector = serve()
    pages = documented()
    seen = set()
    for family in text_string_to_metric_families(collector.get("/metrics").decode()):
        if not family.name.startswith("kepler_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kind, labels, meaning = pages[name]
        assert kind == family.type
        assert meaning.startswith(family.documentation)
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == labels
        seen.add(name)
    missing = {name for name, (_, _, meaning) in pages.items() if name not in seen and "(" not in meaning[-60:]}
    conditional = {"kepler_pod_", "kepler_ebpf_program_", "kepler_ebpf_source_errors", "kepler_ebpf_name_errors"}
    conditional |= {"kepler_node_gpu_idle_power_watts", "kepler_container_memory_working_set_bytes"}
    assert {name for name in missing if not name.startswith(tuple(conditional))} == set()
