"""TLS and passwords for the endpoint, from a file in the format of Prometheus' ``--web.config.file``.

The subset of https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md that
OpenSSL can honour in full: a key this module does not carry out is an error, never a silent weakening.
Paths are relative to the file, as there. The file and every file it names are looked at again (``stat``) for
each request, so a renewed certificate or a new password counts at once.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import KeplerError, UsageError
from .passwords import Users

log = logging.getLogger(__name__)

_SECTIONS = ("tls_server_config", "basic_auth_users")
_TLS_KEYS = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# Go also knows RequestClientCert and RequireAnyClientCert, which take any certificate unverified:
# OpenSSL does not, and nobody is safer for it.
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_MAX_FILE_BYTES = 1 << 20


class Security:
    """What the file asks for: ``tls`` (``None``: plain HTTP) and ``users`` (``None``: anybody)."""

    def __init__(self, tls: ssl.SSLContext | None = None, users: Users | None = None) -> None:
        self.tls = tls
        self.users = users


class WebConfig:
    """The file, read again whenever it or a file it names changes.

    Raises :class:`UsageError` where it is invalid at first, :class:`KeplerError` where a library is missing.
    What becomes invalid later is logged once and counted in ``reload_errors``; the last valid one goes on.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.reload_errors = 0
        self._seen: dict[Path, tuple[int, ...] | None] = {}
        self._security = Security()
        self._security = self._load()

    def current(self) -> Security:
        """The valid security settings of now; the same object for as long as nothing has changed."""
        if any(_signature(path) != seen for path, seen in self._seen.items()):
            try:
                self._security = self._load()
                log.info("web configuration %s read again", self.path)
            except KeplerError as error:
                self.reload_errors += 1
                log.error("%s; the previous web configuration stays in force", error)
        return self._security

    def _load(self) -> Security:
        self._seen = {self.path: _signature(self.path)}
        document = _read(self.path)
        _known_keys(self.path, "", document, _SECTIONS)
        tls, users = document.get("tls_server_config"), document.get("basic_auth_users")
        hashes = {} if users is None else _hashes(self.path, _mapping(self.path, "basic_auth_users", users))
        return Security(
            None if tls is None else self._tls(_mapping(self.path, "tls_server_config", tls)),
            Users(hashes, self._security.users) if hashes else None,
        )

    def _tls(self, section: dict[Any, Any]) -> ssl.SSLContext:
        _known_keys(self.path, "tls_server_config.", section, _TLS_KEYS)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self._choice(section, "min_version", "TLS12", _VERSIONS)]
        context.maximum_version = _VERSIONS[self._choice(section, "max_version", "TLS13", _VERSIONS)]
        if context.minimum_version > context.maximum_version:
            raise self._bad("min_version", section["min_version"], "at most max_version")
        cert, key = self._file(section, "cert_file"), self._file(section, "key_file")
        try:
            # An encrypted key would otherwise ask for its password on the terminal.
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            right = f"a readable PEM certificate and its unencrypted key ({_reason(error)})"
            raise self._bad("cert_file and key_file", f"{cert}, {key}", right) from None
        policy = self._choice(section, "client_auth_type", "NoClientCert", _CLIENT_AUTH)
        if (policy == "NoClientCert") != ("client_ca_file" not in section):
            right = "set together with client_ca_file: one without the other verifies nobody"
            raise self._bad("client_auth_type", policy, right)
        if policy != "NoClientCert":
            authority = self._file(section, "client_ca_file")
            try:
                context.load_verify_locations(authority)
            except OSError as error:
                right = f"a readable PEM file of certificate authorities ({_reason(error)})"
                raise self._bad("client_ca_file", authority, right) from None
        context.verify_mode = _CLIENT_AUTH[policy]
        return context

    def _choice(self, section: dict[Any, Any], key: str, default: str, allowed: Mapping[str, object]) -> str:
        value = section.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self._bad(key, value, f"one of {', '.join(allowed)}")
        return value

    def _file(self, section: dict[Any, Any], key: str) -> Path:
        value = section.get(key)
        if not isinstance(value, str) or not value or "\0" in value:
            raise self._bad(key, value, "the path of a PEM file")
        path = self.path.parent / value
        self._seen[path] = _signature(path)  # before it is read: a change in between shows next time
        return path

    def _bad(self, key: str, value: object, right: str) -> UsageError:
        return UsageError(f"{self.path}: tls_server_config.{key} is {str(value)[:200]!r}, must be {right}")


def _read(path: Path) -> dict[Any, Any]:
    try:
        import yaml
    except ImportError:
        raise _missing_extra(path, "PyYAML") from None
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"web configuration {path} cannot be read: {error.strerror}") from None
    if len(text) > _MAX_FILE_BYTES:
        raise UsageError(f"web configuration {path} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Not str(error): it quotes the line, which may hold a password.
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"web configuration {path} is not valid YAML{line}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError(f"web configuration {path} is not valid YAML") from None
    return _mapping(path, "the file", {} if document is None else document)


def _mapping(path: Path, name: str, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {name} is a {type(value).__name__}, must be a mapping (key: value)")
    return value


def _known_keys(path: Path, prefix: str, section: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in section:
        if key not in known:
            raise UsageError(f"{path}: unknown key {prefix}{str(key)[:80]!r}, must be one of {', '.join(known)}")


def _hashes(path: Path, section: dict[Any, Any]) -> dict[str, bytes]:
    if not section:
        return {}
    try:
        import bcrypt  # noqa: F401  (say now, not at the first request, that it is missing)
    except ImportError:
        raise _missing_extra(path, "bcrypt") from None
    for name, hashed in section.items():
        if not isinstance(name, str) or not name or ":" in name:  # RFC 7617: a colon ends the user-id
            raise UsageError(f"{path}: basic_auth_users: name {str(name)[:80]!r} must be a text without a colon")
        # The value stays unsaid: it may be the password itself.
        if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
            right = "a bcrypt hash ($2y$10$…, as `htpasswd -nBC 10 NAME` prints)"
            raise UsageError(f"{path}: the value of basic_auth_users.{name[:80]!r} must be {right}")
    return {name: hashed.encode() for name, hashed in section.items()}


def _missing_extra(path: Path, library: str) -> KeplerError:
    return KeplerError(f"web configuration {path} needs {library}: pip install 'kepler-ebpf[web]'")


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or "unreadable"


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does, a symbolic link turned elsewhere (Kubernetes secrets) included."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
