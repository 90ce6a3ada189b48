"""Say what a test needs: absent, it is skipped with the reason; under ``CI=true`` that is a failure.

``KEPLER_TESTS=quick`` (``make check``) leaves out whatever needs anything.
"""

from __future__ import annotations

import os

import pytest

QUICK = os.environ.get("KEPLER_TESTS") == "quick"


def require(condition: object, reason: str) -> None:
    """Skip the calling test unless ``condition`` holds; fail it instead where CI promised that it would."""
    if QUICK:
        pytest.skip(f"left to make test: {reason}")
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must be able to run this test: {reason}")
    pytest.skip(reason)


def examples(count: int) -> int:
    """How many examples of a property are tried: a tenth in ``make check``, which is to take a minute."""
    return max(count // 10, 10) if QUICK else count
