"""Properties are tried without a clock: an example that takes long on a busy machine is no failure."""

from __future__ import annotations

from hypothesis import settings

from tests.needs import examples

settings.register_profile("ours", deadline=None, max_examples=examples(100))
settings.load_profile("ours")
