"""Tables shipped with the package; each CSV names its source in ``README.md`` beside it."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
