"""Atomic writes, rows of JSON, CSV and Parquet files, and file locks."""
