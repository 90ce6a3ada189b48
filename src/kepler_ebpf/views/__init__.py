"""Snapshots and frames as text: pure functions, nothing is read or counted here."""
