"""Lines of the setup guide, README and docs/deployment.md, run as they stand until the collector's pod is ready."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import NAMESPACE
from tests.cluster.node import Node, until
from tests.deploy.overlays import DEPLOY
from tests.deploy.test_lines import a_checkout, blocks
from tests.e2e import guide
from tests.needs import require

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("image")]

ROOT = DEPLOY.parent


def ready(node: Node) -> str:
    """Wait until the DaemonSet's pod is ready; its name."""
    node.kubectl(f"rollout status daemonset/kepler-exporter -n {NAMESPACE} --timeout=180s")
    (pod,) = until(lambda: pods(node), 60, "one pod")
    return pod


def pods(node: Node) -> list[str]:
    """Names of the collector's pods, None but those that are not ending."""
    items = node.get(f"pods -n {NAMESPACE} -l app=kepler-exporter")["items"]
    names = [pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]]
    return names if len(names) == len(items) else []


def logged(node: Node, words: str) -> None:
    """The collector's log says so."""
    line = f"kubectl logs -n {NAMESPACE} -l app=kepler-exporter"
    until(lambda: words in node.shell(line, ROOT).stdout, 90, words)


@pytest.fixture(scope="module")
def guides(node: Node) -> str:
    """The collector's pod, installed by the guide's lines on a cluster without the Operator."""
    for line in guide.COMMANDS:
        done = node.shell(line, DEPLOY)
        if line.endswith("-servicemonitor.yaml"):
            assert 'no matches for kind "ServiceMonitor"' in done.stderr, "as docs/deployment.md says"
        else:
            assert done.returncode == 0, f"{line}\n{done.stderr}"
    return ready(node)


@pytest.mark.parametrize("line", guide.QUESTIONS)
def test_the_guides_questions_are_answered(line: str, guides: str, node: Node) -> None:
    """Where the answer is no, it is for the reason that docs/deployment.md gives."""
    code, said = guide.QUESTIONS[line]
    done = node.shell(line.replace("<kepler-pod>", guides), DEPLOY)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


def test_the_guide_reads_a_meter_where_there_is_one(guides: str, node: Node) -> None:
    there = Path(guide.ENERGY.split()[-1]).exists()
    done = node.shell(guide.ENERGY.replace("<kepler-pod>", guides), DEPLOY)
    assert done.stdout.strip().isdigit() if there else "No such file or directory" in done.stderr


def test_the_guides_page_answers(guides: str, node: Node) -> None:
    """Through a port that is forwarded meanwhile."""
    forward, *questions = guide.FORWARDED
    lines = f'{forward} &\ntrap "kill $!" EXIT\nuntil curl -s localhost:9102 >/dev/null; do sleep 0.5; done'
    for question in questions:
        done = node.shell(f"{lines}\n{question}", DEPLOY)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^kepler_node_power_watts \d", done.stdout, re.MULTILINE), question


def test_the_log_says_why_there_are_no_names_and_what_to_do(guides: str, node: Node) -> None:
    """kubeadm's default certificates, then Kubernetes before 1.33: first the one, and once it is mended the other."""
    logged(node, "no names of containers (certificate): its certificate is not signed by the CA that is given")
    node.sign_kubelet()
    logged(node, "no names of containers (403): the service account may not list the pods of its node")
    logged(node, "the overlay nodes-proxy")


def test_the_readmes_lines_install_it(empty: None, node: Node) -> None:
    (lines,) = blocks("README.md", "kubectl")
    done = node.shell(lines, ROOT)
    assert done.returncode == 0, done.stderr
    ready(node)


@pytest.mark.parametrize("lines", blocks("docs/deployment.md", "kubectl"), ids=lambda lines: lines.split("\n")[0])
def test_the_pages_lines_install_it(lines: str, empty: None, operator: None, node: Node, tmp_path: Path) -> None:
    made = "" if "create namespace" in lines else f"kubectl create namespace {NAMESPACE}\n"
    done = node.shell(made + lines, a_checkout(tmp_path))
    assert done.returncode == 0, done.stderr
    ready(node)


def test_helm_installs_it(empty: None, node: Node, tmp_path: Path) -> None:
    """By the library that the command is made of: what ``helm install`` of docs/deployment.md does.

    The chart is for Kubernetes 1.28 and later, and says so here; a copy without this bound is installed.
    """
    require(platform.machine() == "x86_64" and sys.version_info >= (3, 10), "Helm's package is for these")
    page = (ROOT / "docs/deployment.md").read_text()
    ((chart, namespace),) = re.findall(r"helm install kepler-ebpf (\S+) --namespace (\S+) --create-namespace", page)
    assert "chart requires kubeVersion: >=1.28.0-0" in install(node, ROOT / chart, namespace).stderr
    copy = shutil.copytree(ROOT / chart, tmp_path / "chart")
    about = (copy / "Chart.yaml").read_text()
    (copy / "Chart.yaml").write_text(re.sub(r"^kubeVersion:.*\n", "", about, flags=re.MULTILINE))
    done = install(node, copy, namespace)
    assert done.returncode == 0, done.stderr
    ready(node)
    (rule,) = node.get("clusterrole kepler-exporter")["rules"]
    assert rule["resources"] == ["nodes/pods", "nodes/proxy"], "this Kubernetes is before 1.33"


def install(node: Node, chart: Path, namespace: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys, helm_python\n"
        "with helm_python.Config(namespace=sys.argv[2]) as cluster:\n"
        "    cluster.install(sys.argv[1], 'kepler-ebpf', namespace=sys.argv[2], create_namespace=True)\n"
    )
    return node.shell(f'{sys.executable} -c "{program}" {chart} {namespace}', ROOT)
