"""An export as lines for other products: Mixpanel, Amplitude, PostHog and Segment.

Each function takes records after `merge_identities`, `drop_duplicates` and `sort_by_time`, and the aliases of
`known_aliases`, in any order. It gives JSON objects, one a record, each for an endpoint of the target: `write` puts
them into files, `batches` into bodies of requests, and `read_answer` tells what the target took. Nothing here sends
anything. The lines of aliases come last, since a target dates a person by the first line that names them. So they are
held until then: some 500 bytes an alias.

The arguments that all targets share:

- `rule`: the one that `drop_duplicates` was given, "classic" or "strict". The ids follow it: a record has the same
  id in every run, so a target that knows an id already takes nothing twice.
- `spelling`: a function of a name as it was sent, `fold_name` unless said. The targets tell case in names; the vendor
  does not, and one event in two spellings would be two there. `spelling=str` leaves names as they are.
- `on_error`: "raise" (a `MigrationError` that names the record), "skip" (one warning at the end), or a function that
  gets each error.
- `counts`: a `MigrationCounts` to add to.
"""

from __future__ import annotations

from typing import Final

from kmexport.migrate.convert import MigrationCounts, known_aliases
from kmexport.migrate.requests import AnswerError, Batch, Endpoint, Line, batches, read_answer, write
from kmexport.migrate.rules import MigrationError
from kmexport.migrate.targets.amplitude import ENDPOINTS as _AMPLITUDE
from kmexport.migrate.targets.amplitude import amplitude
from kmexport.migrate.targets.mixpanel import ENDPOINTS as _MIXPANEL
from kmexport.migrate.targets.mixpanel import mixpanel
from kmexport.migrate.targets.posthog import ENDPOINTS as _POSTHOG
from kmexport.migrate.targets.posthog import posthog
from kmexport.migrate.targets.segment import ENDPOINTS as _SEGMENT
from kmexport.migrate.targets.segment import segment

__all__ = [
    "ENDPOINTS",
    "AnswerError",
    "Batch",
    "Endpoint",
    "Line",
    "MigrationCounts",
    "MigrationError",
    "amplitude",
    "batches",
    "known_aliases",
    "mixpanel",
    "posthog",
    "read_answer",
    "segment",
    "write",
]

ENDPOINTS: Final[dict[str, Endpoint]] = {
    endpoint.name: endpoint for endpoint in (*_MIXPANEL, *_AMPLITUDE, *_POSTHOG, *_SEGMENT)
}
"""Each endpoint by its name, which is the name of its file: for lines that are read back from files."""
