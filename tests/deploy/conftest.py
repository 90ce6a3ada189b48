from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.image import Images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """podman with the base and our image in its store; both are built once."""
    images = Images(tmp_path_factory.mktemp("image"))
    try:
        images.build()
        yield images
    finally:
        images.close()
