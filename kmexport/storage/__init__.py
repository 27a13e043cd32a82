"""Bytes from any filesystem: small files, listings, and many files in turn, fetched ahead."""
