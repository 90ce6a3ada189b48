"""What a domain can draw, as far as that is known without a meter."""

from __future__ import annotations

PLAUSIBLE_WATTS = {
    "package": 2000.0,
    "core": 2000.0,
    "uncore": 2000.0,
    "dram": 1000.0,
    "platform": 8000.0,
    "gpu": 3000.0,
}
"""More than any one domain of a kind draws, where its own limit is not known. A counter of 262 kJ wraps no sooner than
in two minutes at 2 kW."""
LIMIT_HEADROOM = 2.0
"""A zone's own limit is a mean over seconds; for a moment it draws more."""
