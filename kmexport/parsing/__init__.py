"""Bytes → heads and texts of records: the fast way, the repair, hashes over several lines, arrays."""

from kmexport.parsing.blocks import BinaryFile, Source, check_source, iter_blocks
from kmexport.parsing.lines import Batch, Demand, Tally, WholeBatch, judge_again, parse_blocks
from kmexport.parsing.objects import FIRST_TIMESTAMP, LAST_TIMESTAMP, RESERVED, UNSET, read_properties
from kmexport.parsing.repair import has_doubled_octal, hide_doubled_octal
from kmexport.parsing.sieve import Sieve, alias_sieve, name_sieve, no_event_sieve

__all__ = [
    "FIRST_TIMESTAMP",
    "LAST_TIMESTAMP",
    "RESERVED",
    "UNSET",
    "Batch",
    "BinaryFile",
    "Demand",
    "Sieve",
    "Source",
    "Tally",
    "WholeBatch",
    "alias_sieve",
    "check_source",
    "has_doubled_octal",
    "hide_doubled_octal",
    "iter_blocks",
    "judge_again",
    "name_sieve",
    "no_event_sieve",
    "parse_blocks",
    "read_properties",
]
