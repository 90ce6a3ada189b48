from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.image import Images, stored


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """podman with the base and our image in its store; both are built once."""
    with stored() as images:
        yield images
