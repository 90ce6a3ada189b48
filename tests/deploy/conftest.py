from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ahead import ahead
from tests.deploy.image import Images


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """podman with the base and our image in its store; both are built once."""
    images = built()
    try:
        yield images
    finally:
        images.close()


@ahead("images")
def built() -> Images:
    """The store, which is the caller's to close; nothing is left of one that could not be made."""
    images = Images(Path(tempfile.mkdtemp(prefix="kepler-image-", dir="/var/tmp")))
    try:
        images.build()
    except BaseException:
        images.close()
        raise
    return images
