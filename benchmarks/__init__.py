"""Speed and memory against their goals: ``make bench``."""
