"""Text from outside, made fit for a label."""

from __future__ import annotations

MAX_NAME = 253
"""Longest name kept: the longest Kubernetes allows for an object."""


def clip(value: object) -> str:
    """Untrusted text made fit for a label: at most 253 characters, valid UTF-8; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    return value[:MAX_NAME].encode("utf-8", "replace").decode()
