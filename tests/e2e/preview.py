"""Pictures of the dashboards over the tests' site: ``make preview`` (two and a half minutes, as root)."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from deploy.grafana.preview import draw_all

from tests.e2e.conftest import collectors
from tests.e2e.site import COMMAND, site


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=120)
    arguments = parser.parse_args()
    os.environ["CI"] = "true"  # what is missing is an error here, not a reason to skip
    with (
        tempfile.TemporaryDirectory() as place,
        collectors(Path(place), COMMAND) as start,
        site(Path(place), start) as world,
    ):
        time.sleep(arguments.seconds)
        for picture in draw_all(f"http://127.0.0.1:{world[0].port}", arguments.folder, arguments.seconds):
            print(picture)


if __name__ == "__main__":
    main()
