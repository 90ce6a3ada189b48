"""Frames to a file and back: an Apache Arrow stream that pandas, polars and duckdb read as it is."""
