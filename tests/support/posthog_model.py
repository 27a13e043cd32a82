"""How PostHog makes, joins and dates persons: written from its public source, sharing no code with the writer.

What it keeps to, in the files of github.com/PostHog/posthog:

- rust/capture/src/v1/analytics: an identity is trimmed; on a list of its own it makes no person; above 200 bytes the
  event is dropped.
- nodejs/src/worker/ingestion/persons/person-merge-service.ts: `$create_alias` joins `alias` into `distinct_id`. Nothing
  is joined with an identity on its list, nor a person who is identified into another. Who is joined is identified.
- person-create-service.ts and person-property-service.ts: a person is created with the time of the event that is
  processed, and two that are joined keep the earlier time. Events of one identity are processed in their order.
"""

from __future__ import annotations

from datetime import datetime

from attrs import define, field

MAKES_NO_PERSON = {
    "0", "00000000-0000-0000-0000-000000000000", "[object object]", "anonymous", "anonymous-user", "backend",
    "distinct_id", "distinctid", "email", "false", "guest", "id", "nan", "none", "not_authenticated", "null", "system",
    "true", "undefined", "user",
}  # fmt: skip
IN_ANY_CASE = [
    "anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true", "false",
]  # fmt: skip
AS_THEY_ARE = ["[object Object]", "NaN", "None", "none", "null", "0", "undefined"]


def with_quotes(names):
    return {*names, *(f"'{name}'" for name in names), *(f'"{name}"' for name in names)}


def is_illegal(identity):
    is_listed = identity.lower() in with_quotes(IN_ANY_CASE) or identity in with_quotes(AS_THEY_ARE)
    return not identity.strip() or is_listed


@define(eq=False)
class Person:
    created_at: float
    is_identified: bool = False


@define
class PostHog:
    """The persons of a project, by identity; `refused` has each join that it did not make, and why."""

    persons: dict[str, Person] = field(factory=dict)
    refused: list[tuple[str, str, str]] = field(factory=list)
    dropped: list[str] = field(factory=list)

    def process(self, event):
        identity = event["distinct_id"].strip()
        if len(identity.encode()) > 200 or len(event["event"].encode()) > 200:
            self.dropped.append(identity)
            return
        if identity.lower() in MAKES_NO_PERSON:
            return
        time = datetime.fromisoformat(event["timestamp"]).timestamp()
        joins = False
        if event["event"] == "$create_alias" and event["properties"].get("alias"):
            joins = self.join(event["properties"]["alias"], identity, time)
        elif event["event"] == "$identify" and "$anon_distinct_id" in event["properties"]:
            joins = self.join(event["properties"]["$anon_distinct_id"], identity, time)
        person = self.persons.setdefault(identity, Person(time))
        person.is_identified |= joins

    def join(self, other, into, time):
        """Join two identities; whether that was tried, for then `into` is identified."""
        if other == into:
            return False
        for identity in (into, other):
            if is_illegal(identity):
                self.refused.append((other, into, f"{identity} is illegal"))
                return False
        source, target = self.persons.get(other), self.persons.get(into)
        if source is None and target is None:
            self.persons[into] = self.persons[other] = Person(time, is_identified=True)
        elif source is None or target is None:
            self.persons[into] = self.persons[other] = source or target
        elif source is not target:
            if source.is_identified:
                self.refused.append((other, into, f"{other} is identified already"))
                return True
            target.created_at = min(source.created_at, target.created_at)
            for identity, person in self.persons.items():
                if person is source:
                    self.persons[identity] = target
        return True
