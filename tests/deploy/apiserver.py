"""As much of an API server as ``kubectl create``, ``apply`` and ``get`` ask of one. Its objects are in memory.

It knows the kinds that a cluster has of itself, and those of the Prometheus Operator where it is told so. As a real
one it refuses kinds that it does not know, and objects of namespaces that are not there.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CORE = {
    ("", "v1"): {
        "namespaces": ("Namespace", False),
        "pods": ("Pod", True),
        "secrets": ("Secret", True),
        "serviceaccounts": ("ServiceAccount", True),
        "services": ("Service", True),
    },
    ("apps", "v1"): {"daemonsets": ("DaemonSet", True)},
    ("networking.k8s.io", "v1"): {"networkpolicies": ("NetworkPolicy", True)},
    ("rbac.authorization.k8s.io", "v1"): {
        "clusterroles": ("ClusterRole", False),
        "clusterrolebindings": ("ClusterRoleBinding", False),
    },
}
OPERATOR = {
    ("monitoring.coreos.com", "v1"): {
        "prometheusrules": ("PrometheusRule", True),
        "servicemonitors": ("ServiceMonitor", True),
    }
}
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v\w+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>\w+)"
    r"(?:/(?P<name>[^/]+))?"
)


class Cluster:
    """What is there, by plural, namespace and name; ``kubeconfig``: a file that leads here."""

    def __init__(self, operator: bool, kubeconfig: Path) -> None:
        self.kinds = {**CORE, **(OPERATOR if operator else {})}
        self.kubeconfig = kubeconfig
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}

    def discovery(self, path: str) -> dict[str, Any] | None:
        """What is known of kinds: groups, and the resources of one of them."""
        if path == "/version":
            return {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = [
                {"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}]}
                for group, version in self.kinds
                if group
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for (group, version), resources in self.kinds.items():
            if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
                return {
                    "kind": "APIResourceList",
                    "groupVersion": f"{group}/{version}" if group else version,
                    "resources": [
                        {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["create", "get", "list"]}
                        for plural, (kind, namespaced) in resources.items()
                    ],
                }
        return None

    def asked(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer to a request for objects."""
        found = _PATH.fullmatch(path)
        resources = self.kinds.get((found["group"] or "", found["version"])) if found else None
        if found is None or resources is None or found["plural"] not in resources:
            return 404, missing("the server could not find the requested resource")
        kind, namespaced = resources[found["plural"]]
        space = (found["namespace"] or "") if namespaced else ""
        if method == "POST":
            if namespaced and ("namespaces", "", space) not in self.objects:
                return 404, missing(f'namespaces "{space}" not found')
            key = (found["plural"], space, body["metadata"]["name"])
            if key in self.objects:
                return 409, refusal(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
            self.objects[key] = body
            return 201, body
        if found["name"]:
            key = (found["plural"], space, found["name"])
            if key not in self.objects:
                return 404, missing(f'{key[0]} "{key[2]}" not found')
            return 200, self.objects[key]  # a PATCH is not applied: what kubectl would change is not of interest here
        items = [one for (plural, where, _), one in self.objects.items() if (plural, where) == (found["plural"], space)]
        return 200, {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {}, "items": items}


def refusal(code: int, reason: str, message: str) -> dict[str, Any]:
    """An error as the API writes it."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return {**status, "reason": reason, "code": code, "message": message}


def missing(message: str) -> dict[str, Any]:
    return refusal(404, "NotFound", message)


def parsed(text: bytes) -> dict[str, Any]:
    """An object in JSON, or of one in the API's protobuf its kind and name (runtime.Unknown, ObjectMeta)."""
    if not text.startswith(b"k8s\0"):
        return dict(json.loads(text or b"{}"))
    kind, raw = (field(text[4:], number) for number in (1, 2))
    name = field(field(raw, 1), 1).decode()
    return {"apiVersion": field(kind, 1).decode(), "kind": field(kind, 2).decode(), "metadata": {"name": name}}


def field(message: bytes, wanted: int) -> bytes:
    """A field of bytes of a protobuf message that has no others before it."""
    place = 0
    while place < len(message):
        number, place = message[place] >> 3, place + 1
        size = shift = 0
        while True:
            size, shift, place = size | (message[place] & 0x7F) << shift, shift + 7, place + 1
            if message[place - 1] < 0x80:
                break
        if number == wanted:
            return message[place : place + size]
        place += size
    raise ValueError(f"no field {wanted}")


@contextmanager
def cluster(folder: Path, *, operator: bool) -> Iterator[Cluster]:
    """An API server without anything in it."""
    one = Cluster(operator, folder / "kubeconfig")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            path = self.path.partition("?")[0]
            length = int(self.headers["Content-Length"] or 0)
            body = parsed(self.rfile.read(length))
            if path == "/openapi/v2":  # no schemas at all: an empty message
                return self.send(200, b"", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
            known = self.command == "GET" and one.discovery(path)
            status, value = (200, known) if known else one.asked(self.command, path, body)
            self.send(status, json.dumps(value).encode())

        do_GET = do_POST = do_PATCH = answer

        def send(self, status: int, text: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "it", "user": {}}],
    }
    one.kubeconfig.write_text(json.dumps(config))
    try:
        yield one
    finally:
        server.shutdown()
        server.server_close()
