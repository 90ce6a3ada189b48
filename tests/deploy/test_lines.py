"""Shell lines of README, docs/deployment.md and the setup guide, run as they stand against a stand-in API server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.apiserver import Cluster, cluster
from tests.deploy.overlays import DEPLOY, KUBECTL
from tests.deploy.test_rules import promtool
from tests.e2e import guide
from tests.needs import require

ROOT = DEPLOY.parent
OPERATORS = ("-servicemonitor.yaml", "-alerts.yaml", "-parameters.yaml", "-rules.yaml")


def blocks(page: str, word: str) -> list[str]:
    """Blocks of shell lines that hold this word; without prompts, which show output as well."""
    fenced = re.split(r"^```", (ROOT / page).read_text(), flags=re.MULTILINE)[1::2]
    return [text[1:] for text in fenced if word in text and text.startswith("\n") and not text.startswith("\n$")]


def run(lines: str, folder: Path, one: Cluster) -> subprocess.CompletedProcess[str]:
    require(KUBECTL.exists(), "runs kubectl many times")
    path = f"{KUBECTL.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "KUBECONFIG": str(one.kubeconfig), "HOME": str(one.kubeconfig.parent), "PATH": path}
    return subprocess.run(["bash", "-euc", lines], cwd=folder, env=environment, capture_output=True, text=True)


def a_checkout(tmp_path: Path) -> Path:
    """A folder that looks like ours, for lines that write files."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "deploy").symlink_to(DEPLOY)
    return folder


@pytest.mark.parametrize("operator", [False, True], ids=["without the Operator", "with it"])
def test_the_readmes_lines_install_it(operator: bool, tmp_path: Path) -> None:
    (lines,) = blocks("README.md", "kubectl")
    with cluster(tmp_path, operator=operator) as one:
        done = run(lines, ROOT, one)
        assert done.returncode == 0, done.stderr
        assert ("daemonsets", "newmonitoring", "kepler-exporter") in one.objects


def test_the_pages_lines_install_it(tmp_path: Path) -> None:
    for lines in blocks("docs/deployment.md", "kubectl"):
        if "htpasswd" in lines:
            require(shutil.which("htpasswd") and shutil.which("openssl"), "needs htpasswd and openssl")
            lines = f"kubectl create namespace newmonitoring\n{lines}"
        with cluster(tmp_path, operator=True) as one:
            place = tmp_path / str(abs(hash(lines)))
            place.mkdir()
            done = run(lines, a_checkout(place), one)
            assert done.returncode == 0, f"{lines}\n{done.stderr}"
            assert ("daemonsets", "newmonitoring", "kepler-exporter") in one.objects


@pytest.mark.parametrize("operator", [False, True], ids=["without the Operator", "with it"])
def test_the_guides_lines_do_what_it_says(operator: bool, tmp_path: Path) -> None:
    with cluster(tmp_path, operator=operator) as one:
        for line in guide.COMMANDS:
            done = run(line, DEPLOY, one)
            if line.endswith(OPERATORS) and not operator:
                assert 'no matches for kind "ServiceMonitor"' in done.stderr, "as docs/deployment.md says"
            else:
                assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert ("daemonsets", "newmonitoring", "kepler-exporter") in one.objects


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/deployment.md", "docs/prometheus.md"])
def test_what_the_pages_call_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for path in re.findall(r"(?:apply -[fk]|compose -f|helm install \S+|-f) (deploy/[\w./-]+)", text):
        if not path.endswith("NAME"):
            assert (ROOT / path).exists(), path


def test_the_scrape_of_a_collector_with_passwords_is_what_prometheus_takes(tmp_path: Path) -> None:
    page = (ROOT / "docs/deployment.md").read_text()
    (snippet,) = re.findall(r"```yaml\n(scheme: https\n.*?)```", page, re.DOTALL)
    job = {"job_name": "kepler", "static_configs": [{"targets": ["localhost:9102"]}], **yaml.safe_load(snippet)}
    for name in ("ca.crt", "password"):
        (tmp_path / name).write_text("")
    text = yaml.safe_dump({"scrape_configs": [job]}).replace("/etc/prometheus/kepler", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")
