"""The revision files of an export: manifests, listing, reading, coverage, audit."""
