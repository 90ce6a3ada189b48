"""A few hundred inputs for each target of ``make fuzz``: random bytes, and seeds with some bytes changed."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS
from tests.needs import examples


@st.composite
def changed(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with pieces of it cut out, doubled, or replaced."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        data = data[:start] + draw(st.one_of(st.binary(max_size=8), st.just(2 * data[start:end]))) + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_what_must_hold(name: str) -> None:
    @settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=1000), changed(SEEDS[name])))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_taken(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)
