"""Who can be asked for names on this machine."""

from __future__ import annotations

from .kubelet import SERVICE_ACCOUNT, Kubelet
from .names import NameProvider

DEFAULT_KUBELET = "https://127.0.0.1:10250"


def name_providers(kubelet_url: str) -> list[NameProvider]:
    """The kubelet, where it is named or where a service account is mounted. Raises UsageError for a bad address."""
    if kubelet_url or (SERVICE_ACCOUNT / "token").exists():
        return [Kubelet(kubelet_url or DEFAULT_KUBELET)]
    return []
