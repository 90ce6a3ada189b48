"""The keys, certificates and kubeconfigs of a cluster, by openssl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Credentials:
    """A certificate authority in ``folder``, the key of service accounts, and what the authority signs."""

    def __init__(self, folder: Path, server: str) -> None:
        """``server``: the API server's URL, for kubeconfigs."""
        self.folder, self._server = folder, server
        folder.mkdir()
        self._openssl("req", "-x509", *_KEY, "-subj", "/CN=kubernetes", "-keyout", "ca.key", "-out", "ca.crt")
        self._openssl("genpkey", "-algorithm", "RSA", "-out", "accounts.key")
        self._openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")

    def sign(self, name: str, subject: str, names: str = "") -> None:
        """Make NAME.key and NAME.crt, a server's for ``names`` (subjectAltName), or else a client's."""
        usage = "serverAuth" if names else "clientAuth"
        extensions = ["-addext", f"extendedKeyUsage={usage}"]
        extensions += ["-addext", f"subjectAltName={names}"] if names else []
        authority = ("-CA", "ca.crt", "-CAkey", "ca.key")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
        self._openssl("req", "-x509", *authority, *_KEY, "-subj", subject, *extensions, *files)

    def kubeconfig(self, user: str, subject: str) -> Path:
        """A kubeconfig whose user is of this subject."""
        self.sign(user, subject)
        cluster = {"server": self._server, "certificate-authority": str(self.folder / "ca.crt")}
        keys = {"client-certificate": f"{self.folder / user}.crt", "client-key": f"{self.folder / user}.key"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": user}}],
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": user, "user": keys}],
        }
        path = self.folder / f"{user}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr}"
