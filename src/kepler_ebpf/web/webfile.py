"""The web configuration file: its keys, and what they ask for. :class:`UsageError` says in one line what is wrong.

The subset of https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md that
OpenSSL can honour in full: a key this module does not carry out is an error, never a silent weakening.
Paths are relative to the file, as there.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import KeplerError, UsageError
from .passwords import Users, cost_of

# Room for several hundred users. PyYAML takes about ten seconds for a megabyte; for open brackets the square of their
# number, and for each small node (a bracket, "a,") as long as for a long one. Ours nest three levels.
MAX_FILE_BYTES = 64 << 10
_MAX_LEVELS = 10
_MAX_NODES = 4096
MAX_PEM_BYTES = 1 << 20
# A check takes about a second at this cost, and twice as long with each step more: at 31, a day and a half.
MAX_BCRYPT_COST = 14

_SECTIONS = ("tls_server_config", "basic_auth_users")
_TLS_KEYS = ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version")
_PEM_KEYS = ("cert_file", "key_file", "client_ca_file")
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# Go also knows RequestClientCert and RequireAnyClientCert, which take any certificate unverified:
# OpenSSL does not, and nobody is safer for it.
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")


class Security(NamedTuple):
    """What the file asks for: ``tls`` (None: plain HTTP) and ``users`` (None: no password needed)."""

    tls: ssl.SSLContext | None = None
    users: Users | None = None

    def lost_in(self, other: Security) -> list[str]:
        """The protections of this one that ``other`` lacks, in words."""
        lost = []
        if self.tls is not None:
            if other.tls is None:
                lost.append("TLS")
            else:
                if other.tls.verify_mode < self.tls.verify_mode:
                    lost.append("client certificates")
                if other.tls.minimum_version < self.tls.minimum_version:
                    lost.append("min_version")
        if self.users is not None and other.users is None:
            lost.append("passwords")
        return lost


class WebFile:
    """The file's text, its keys checked. ``pem_files``: the files it names."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self._document = _parse(path, text)
        _known_keys(path, "", self._document, _SECTIONS)
        self._tls_section: dict[Any, Any] | None = None
        if self._document.get("tls_server_config") is not None:
            self._tls_section = _mapping(path, "tls_server_config", self._document["tls_server_config"])
            _known_keys(path, "tls_server_config.", self._tls_section, _TLS_KEYS)
        section = self._tls_section or {}
        self.pem_files = tuple(self._file(section, key) for key in _PEM_KEYS if key in section)

    def security(self, before: Users | None = None) -> Security:
        """What the file asks for; reads the files it names. ``before``: as for :class:`Users`."""
        users = self._document.get("basic_auth_users")
        hashes = {} if users is None else _hashes(self.path, _mapping(self.path, "basic_auth_users", users))
        tls = None if self._tls_section is None else self._tls(self._tls_section)
        return Security(tls, Users(hashes, before) if hashes else None)

    def _tls(self, section: dict[Any, Any]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self._choice(section, "min_version", "TLS12", _VERSIONS)]
        context.maximum_version = _VERSIONS[self._choice(section, "max_version", "TLS13", _VERSIONS)]
        if context.minimum_version > context.maximum_version:
            raise self._bad("min_version", section["min_version"], "at most max_version")
        cert, key = self._file(section, "cert_file"), self._file(section, "key_file")
        try:
            _check_pem(cert)
            _check_pem(key)
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
                _check_pem(authority)
                context.load_verify_locations(authority)
            except OSError as error:
                right = f"a readable PEM file of certificate authorities ({_reason(error)})"
                raise self._bad("client_ca_file", str(authority), right) from None
        context.verify_mode = _CLIENT_AUTH[policy]
        return context

    def _choice(self, section: dict[Any, Any], key: str, default: str, allowed: Mapping[str, object]) -> str:
        value = section.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise self._bad(key, value, f"one of {', '.join(allowed)}")
        return value

    def _file(self, section: dict[Any, Any], key: str) -> Path:
        value = section.get(key)
        if not isinstance(value, str) or not value or "\0" in value or not _encodable(value):
            raise self._bad(key, value, "the path of a PEM file")
        return self.path.parent / value

    def _bad(self, key: str, value: object, right: str) -> UsageError:
        return UsageError(f"{self.path}: tls_server_config.{key} is {_shown(value, 200)}, must be {right}")


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most``. Raises OSError; never waits for a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise OSError(0, f"larger than {most} bytes")
    return text


def read_web_file(path: Path) -> bytes:
    """The text of the web configuration. Raises UsageError."""
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise UsageError(f"web configuration {path} cannot be read: {error.strerror}") from None


def _check_pem(path: Path) -> None:
    """OpenSSL opens files by name and reads them to their end, which a pipe or a device may not have."""
    read_regular(path, MAX_PEM_BYTES)


def _parse(path: Path, text: bytes) -> dict[Any, Any]:
    try:
        import yaml
    except ImportError:
        raise _missing_extra(path, "PyYAML") from None

    class Loader(yaml.SafeLoader):
        level = nodes = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            # A few lines of aliases and merges can stand for more nodes than there is memory. Merges without aliases
            # take the square of their number, and say nothing that is not said shorter without.
            if self.check_event(yaml.AliasEvent):
                raise UsageError(f"web configuration {path} has an alias (*name), which is not supported")
            self.level, self.nodes = self.level + 1, self.nodes + 1
            if self.level > _MAX_LEVELS or self.nodes > _MAX_NODES:
                line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call, unused-ignore]
                deep = self.level > _MAX_LEVELS
                what = f"values more than {_MAX_LEVELS} deep" if deep else f"more than {_MAX_NODES} values"
                raise UsageError(f"web configuration {path} has {what}, at line {line}")
            node = super().compose_node(parent, index)
            self.level -= 1
            return node

        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                line = node.start_mark.line + 1
                raise UsageError(f"web configuration {path} has a merge (<<) at line {line}, which is not supported")

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            mapping = super().construct_mapping(node, deep)
            if len(mapping) != len(node.value):  # YAML forbids it; PyYAML lets the last one win
                line = node.start_mark.line + 1
                raise UsageError(f"web configuration {path} has a key twice in the mapping at line {line}")
            return mapping

    try:
        document = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        # Not str(error): it quotes the line, which may hold a password.
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"web configuration {path} is not valid YAML{where}") from None
    except UsageError:
        raise
    except Exception:  # a value that is not of the type its tag says is whatever PyYAML's conversion raises
        raise UsageError(f"web configuration {path} is not valid YAML") from None
    return _mapping(path, "the file", {} if document is None else document)


def _mapping(path: Path, name: str, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {name} is a {type(value).__name__}, must be a mapping (key: value)")
    return value


def _known_keys(path: Path, prefix: str, section: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in section:
        if key not in known:
            raise UsageError(f"{path}: unknown key {prefix}{_shown(key, 80)}, must be one of {', '.join(known)}")


def _hashes(path: Path, section: dict[Any, Any]) -> dict[str, bytes]:
    if not section:
        return {}
    try:
        import bcrypt  # noqa: F401  (say now, not at the first request, that it is missing)
    except ImportError:
        raise _missing_extra(path, "bcrypt") from None
    for name, hashed in section.items():
        if not isinstance(name, str) or not name or ":" in name:  # RFC 7617: a colon ends the user-id
            raise UsageError(f"{path}: basic_auth_users: name {_shown(name, 80)} must be a text without a colon")
        # The value stays unsaid: it may be the password itself.
        if not isinstance(hashed, str) or not _BCRYPT.fullmatch(hashed):
            right = "a bcrypt hash ($2y$10$…, as `htpasswd -nBC 10 NAME` prints)"
            raise UsageError(f"{path}: the value of basic_auth_users.{_shown(name, 80)} must be {right}")
        cost = cost_of(hashed.encode())
        if cost > MAX_BCRYPT_COST:
            right = f"at most {MAX_BCRYPT_COST}: each step doubles the time of a check"
            raise UsageError(f"{path}: the cost of basic_auth_users.{_shown(name, 80)} is {cost}, must be {right}")
    return {name: hashed.encode() for name, hashed in section.items()}


def _shown(value: object, most: int) -> str:
    """A value as an error shows it: texts and small values in quotes, everything else by its kind."""
    if isinstance(value, str):
        return repr(value[:most])
    return repr(str(value)) if value is None or isinstance(value, (bool, float)) else f"a {type(value).__name__}"


def _encodable(value: str) -> bool:
    try:
        os.fsencode(value)
    except UnicodeError:
        return False
    return True


def _missing_extra(path: Path, library: str) -> KeplerError:
    return KeplerError(f"web configuration {path} needs {library}: pip install 'kepler-ebpf[web]'")


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or "unreadable"
