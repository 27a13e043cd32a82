"""A bucket as another one that is read within other limits."""

from __future__ import annotations

from copy import copy
from typing import Any

from kmexport import Bucket, Limits


def limited(bucket: Bucket, **limits: Any) -> Bucket:
    """The same export, at the same place of the same filesystem."""
    other = copy(bucket)
    other._folder = copy(bucket.folder)
    other._folder.limits = Limits(**limits)
    return other
