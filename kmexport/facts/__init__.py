"""What counts: records merged and without duplicates, in DuckDB (extra `tables`)."""
