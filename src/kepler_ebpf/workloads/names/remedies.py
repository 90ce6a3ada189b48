"""What a user can do about a provider that gives no names, by its reason."""

from __future__ import annotations

_NAMES_OF_PODS = "docs/deployment.md, Names of pods"
_NAMES_OF_CONTAINERS = "docs/deployment.md, Names of other containers"

_KUBELET = {
    "401": "it does not accept the token: use the service account's of this cluster, or set KEPLER_KUBELET_TOKEN",
    "403": "the service account may not list the pods of its node: before Kubernetes 1.33 that takes the overlay "
    "nodes-proxy, or the runtime's socket in place of the kubelet (KEPLER_CRI_SOCKET)",
    "certificate": "its certificate is not signed by the CA that is given, or is another name's: let the cluster sign "
    "it (serverTLSBootstrap), or set KEPLER_KUBELET_CA and KEPLER_KUBELET_SERVER_NAME",
    "tls": "what answers there does not speak TLS as a kubelet does: check KEPLER_KUBELET_URL",
    "token": "no token can be read: mount the service account, or set KEPLER_KUBELET_TOKEN",
    "permission": "the token or the CA cannot be read by this user: check KEPLER_KUBELET_TOKEN and KEPLER_KUBELET_CA",
    "refused": "nothing listens there: set KEPLER_KUBELET_URL to the address of this node's kubelet, port 10250",
    "timeout": "it does not answer in time: check KEPLER_KUBELET_URL, and network policies",
    "network": "it cannot be reached, or the CA's file is missing: check KEPLER_KUBELET_URL and KEPLER_KUBELET_CA",
    "404": "this is not a kubelet's HTTPS port, or its debugging handlers are off: check KEPLER_KUBELET_URL",
}
_SOCKET = {
    "permission": "this user may not use the socket: add it to the socket's group, or allow it with "
    "setfacl -m u:USER:rw SOCKET",
    "refused": "nobody listens on the socket: start the engine, or turn the option off",
    "network": "the socket is not there: mount it, or name it by the option",
    "timeout": "it does not answer in time: see whether the engine hangs",
    "404": "what listens there is another program, or too old (podman before 4.0): check the option",
}
_CRI = {
    "unavailable": "nobody who speaks CRI listens there: check KEPLER_CRI_SOCKET, and that this user may use it",
    "unimplemented": "the runtime does not speak CRI v1 (containerd before 1.6, or its cri plugin is disabled)",
    "permission-denied": "this user may not use the socket",
    "deadline-exceeded": "it does not answer in time: see whether the runtime hangs",
}


def remedy(provider: str, reason: str) -> str:
    """What to do, and the page that says more. ``provider``: its name; ``reason``: a ProviderError's."""
    if provider == "kubelet":
        found, page = _KUBELET.get(reason, ""), _NAMES_OF_PODS
    else:
        found, page = (_CRI if provider == "cri" else _SOCKET).get(reason, ""), _NAMES_OF_CONTAINERS
    return f"{found}; see {page}" if found else f"see {page}"
