"""Tables shipped with the package; each CSV names its source in ``README.md`` beside it."""
