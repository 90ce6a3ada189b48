from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.cluster.node import PROGRAMS, Node, cluster, until
from tests.deploy.image import Images, stored
from tests.deploy.test_lines import blocks
from tests.needs import require

NAMESPACE = "newmonitoring"


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """podman with our image in its store."""
    with stored() as images:
        yield images


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The cluster, without anything in it."""
    with cluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture(scope="session")
def image(node: Node, images: Images) -> None:
    """The image in the node's containerd, by the lines of docs/deployment.md for podman without a registry."""
    (lines,) = blocks("docs/deployment.md", "podman save")
    here = f'podman() {{ command {" ".join(images.command)} "$@"; }}\n'
    there = f'ctr() {{ {" ".join(node.inside)} ctr "$@"; }}\n'
    done = node.shell(here + there + lines, node.folder)
    assert done.returncode == 0, done.stderr
    (node.folder / "kepler-ebpf.tar").unlink()


def clear(node: Node) -> None:
    """Remove all that is ours, and the namespace.

    The DaemonSet goes first: until then it makes another pod for one that has gone, and this kubelet takes minutes to
    end a pod that began in a namespace that ends.
    """
    node.kubectl(f"delete daemonset --all -n {NAMESPACE} --cascade=foreground --timeout=180s")
    node.kubectl(f"delete namespace {NAMESPACE} --ignore-not-found --timeout=180s")
    node.kubectl("delete clusterrole,clusterrolebinding --selector=app=kepler-exporter --ignore-not-found")


@pytest.fixture
def empty(node: Node) -> None:
    """Nothing of ours is in the cluster, not even the namespace."""
    clear(node)


@pytest.fixture(scope="module")
def operator(node: Node) -> Iterator[None]:
    """The kinds of the Prometheus Operator, as it defines them."""
    kinds = PROGRAMS / "crds"
    require(kinds.exists(), "needs the Operator's kinds: tests/cluster/build-kubernetes")
    node.kubectl(f"create --filename={kinds}")
    node.kubectl(f"wait --for=condition=Established --filename={kinds} --timeout=60s")
    yield
    node.kubectl(f"delete --filename={kinds}")
    until(lambda: "monitoring.coreos.com" not in node.kubectl("get --raw /apis"), 60, "the kinds are gone")
    shutil.rmtree(node.folder / ".kube/cache")  # kubectl goes by what it found there for hours
