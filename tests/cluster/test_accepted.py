"""What we ship, given to a real API server that checks it and keeps nothing (``--dry-run=server``)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster.conftest import NAMESPACE
from tests.cluster.node import Node
from tests.deploy.overlays import DEPLOY, OVERLAYS, Document, render
from tests.deploy.test_chart import ALIKE, OPERATOR, helm_template, merge

pytestmark = pytest.mark.kernel

RULES = ("kepler-0.9", "kepler-0.10", "consumers")
"""What these add are the Operator's kinds alone: the chart makes them wherever it is told to."""


@pytest.fixture(scope="module", autouse=True)
def namespace(node: Node) -> Iterator[None]:
    """The namespace alone."""
    node.kubectl(f"create namespace {NAMESPACE}")
    yield
    node.kubectl(f"delete namespace {NAMESPACE} --timeout=120s")


def give(node: Node, documents: list[Document]) -> subprocess.CompletedProcess[str]:
    text = yaml.safe_dump_all(documents)
    return node.shell(f"kubectl apply --dry-run=server -f - <<'END_OF_INPUT'\n{text}END_OF_INPUT\n", DEPLOY.parent)


def accepted(done: subprocess.CompletedProcess[str]) -> int:
    """How many objects the server would have made."""
    return done.stdout.count("created (server dry run)")


def of_operator(documents: list[Document]) -> list[str]:
    return [one["kind"] for one in documents if one["apiVersion"].startswith("monitoring.coreos.com/")]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_without_the_operator(name: str, node: Node) -> None:
    """What is not of the Operator's kinds is taken; of those each is refused by name, and kubectl ends with 1."""
    documents = render(DEPLOY / "kustomize" / name)
    done = node.shell(f"kubectl apply --dry-run=server -k deploy/kustomize/{name}", DEPLOY.parent)
    refused = of_operator(documents)
    assert sorted(refused) == sorted(re.findall(r'no matches for kind "(\w+)"', done.stderr))
    assert done.returncode == (1 if refused else 0), done.stderr
    assert accepted(done) == len(documents) - len(refused), done.stderr


@pytest.mark.parametrize("name", [name for name in ALIKE if name not in RULES])
def test_the_chart_without_the_operator(name: str, node: Node) -> None:
    documents = helm_template(ALIKE[name])
    assert of_operator(documents) == []
    done = give(node, documents)
    assert (done.returncode, accepted(done)) == (0, len(documents)), done.stderr


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_with_the_operator(name: str, node: Node, operator: None) -> None:
    done = node.shell(f"kubectl apply --dry-run=server -k deploy/kustomize/{name}", DEPLOY.parent)
    assert done.returncode == 0, done.stderr
    assert accepted(done) == len(render(DEPLOY / "kustomize" / name))


@pytest.mark.parametrize("name", ALIKE)
def test_the_chart_with_the_operator(name: str, node: Node, operator: None) -> None:
    documents = helm_template(merge(OPERATOR, ALIKE[name]))
    done = give(node, documents)
    assert (done.returncode, accepted(done)) == (0, len(documents)), done.stderr
