"""Conditions on people: who did something, who has a value, in which order; joined by & (and), | (or) and ~ (not)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from kmexport.facts.sql import text_of
from kmexport.format.names import fold_name
from kmexport.reports.query import bounds_of, known_name
from kmexport.reports.splits import CUSTOMER_ID, Split, as_name, assignments_of, in_form
from kmexport.tables import Facts
from kmexport.windows import Window, check_window

Key: TypeAlias = Literal["person", "moment"]


class NameCollector:
    """A binder that only records the names of a condition, so that one knows what to read; it makes no SQL."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.properties: list[str] = []
        self.everyone: bool = False  # identities are those of all records

    def put(self, _: object) -> str:
        return ""

    def event(self, name: str) -> str:
        self.events.append(name)
        return ""

    def assignments(self, split: Split) -> str:
        events, properties = split.needed()
        self.events += events
        self.properties += properties
        self.everyone = self.everyone or not properties
        return ""

    def within(self, _: Window | None) -> str:
        return ""


class Binder:
    """Puts what conditions name into the parameters of a query, each under a name of its own."""

    def __init__(self, facts: Facts, params: dict[str, object]) -> None:
        self._facts = facts
        self._params = params

    def put(self, value: object) -> str:
        """Return the parameter that holds the value."""
        name = self._free()
        self._params[name] = value
        return f"${name}"

    def event(self, name: str) -> str:
        return self.put(known_name(self._facts, "event", name))

    def raw_assignments(self, split: Split) -> str | None:
        """Return the assignments of the property (person, time, value, assigned); None for the name of the person."""
        name = self._free()
        self._params[name] = None
        return assignments_of(self._facts, split, name, self._params)

    def assignments(self, split: Split) -> str:
        """Return the query of all values that were given: person, time (null for an identity), text."""
        found = self.raw_assignments(split)
        if found is None:
            return (
                "select person_id as person, null::timestamptz as time, identity as text from kmexport.numbered_people"
            )
        return f"select person, time, {in_form(text_of('value'), split.form)} as text from ({found})"

    def within(self, window: Window | None) -> str:
        """Return the expression for a time within the window."""
        if window is None:
            return "true"
        start, end = (self.put(moment) for moment in bounds_of(window).values())
        return f"(time >= to_timestamp({start}) and time < to_timestamp({end}))"

    def _free(self) -> str:
        return f"among_{len(self._params)}"


@frozen
class Condition:
    """A condition on people, for `among=` of every report and for `people`. `&`, `|` and `~` join conditions.

    Made by `did`, `has` and `in_order`. It prints as a sentence.
    """

    def __and__(self, other: Condition) -> Condition:
        return _Joined("and", self, check_condition(other))

    def __or__(self, other: Condition) -> Condition:
        return _Joined("or", self, check_condition(other))

    def __invert__(self) -> Condition:
        return _Not(self)

    def __bool__(self) -> bool:
        msg = "a condition is no truth value: join conditions with & and | in place of `and` and `or`"
        raise TypeError(msg)

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        """Return the expression for a row: of its person, or of its moment (person and time)."""
        raise NotImplementedError


def check_condition(value: object) -> Condition:
    """Return the condition; TypeError for anything else."""
    if not isinstance(value, Condition):
        msg = f"a condition is made by did(…), has(…) or in_order(…), not {value!r}"
        raise TypeError(msg)
    return value


@frozen(repr=False)
class _Joined(Condition):
    word: str
    first: Condition
    second: Condition

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        return f"({self.first.sql(key, binder)} {self.word} {self.second.sql(key, binder)})"

    def __repr__(self) -> str:
        return f"({self.first} {self.word} {self.second})"


@frozen(repr=False)
class _Not(Condition):
    condition: Condition

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        return f"(not {self.condition.sql(key, binder)})"

    def __repr__(self) -> str:
        return f"not ({self.condition})"


@frozen(repr=False)
class _Has(Condition):
    """A condition on the values of a property; made by `has`."""

    split: Split
    tests: dict[str, str] = field(factory=dict)
    window: Window | None = None

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        columns = "person" if key == "person" else "person, time"
        return f"({columns}) in (select {columns} from ({self.moments(binder, self.window)}))"

    def moments(self, binder: Binder | NameCollector, window: Window | None) -> str:
        """Return the query of the moments in which a person was given such a value: person, time."""
        tests = [_TESTS[name].format(binder.put(value)) for name, value in self.tests.items()]
        where = " and ".join(["text is not null", binder.within(window), *tests])
        return f"select person, time from ({binder.assignments(self.split)}) where {where}"

    def __repr__(self) -> str:
        tests = " and ".join(f"{name.replace('_', ' ')} {value!r}" for name, value in self.tests.items())
        return f"has {self.split.property!r}{f' {tests}' if tests else ''}{_within(self.window)}"


_TESTS: Final = {
    "containing": "contains(text, {})",
    "equal_to": "text = {}",
    "beginning": "starts_with(text, {})",
    "ending": "ends_with(text, {})",
}


@frozen(repr=False)
class _Did(Condition):
    """A condition on how often people did an event; made by `did`."""

    event: str
    lowest: int
    highest: int | None
    where: Condition | None
    window: Window | None

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        if key != "person":
            msg = "where= tests the values of the event's second: it takes has(…), not did(…)"
            raise TypeError(msg)
        people = f"select person from ({self.moments(binder, self.window)}) group by person having"
        if self.lowest < 1:  # who never did it has no row
            return "true" if self.highest is None else f"person not in ({people} count(*) > {self.highest})"
        most = "" if self.highest is None else f" and count(*) <= {self.highest}"
        return f"person in ({people} count(*) >= {self.lowest}{most})"

    def moments(self, binder: Binder | NameCollector, window: Window | None) -> str:
        """Return the query of the occurrences that count: person, time."""
        where = f"where {self.where.sql('moment', binder)}" if self.where is not None else ""
        times = f"""
            select person_id as person, time from kmexport.numbered_events
            where name = {binder.event(self.event)} and {binder.within(window)}"""
        return f"select person, time from ({times}) {where}"

    def __repr__(self) -> str:
        if self.highest == self.lowest:
            times = f" exactly {self.lowest} times"
        else:
            times = "" if self.lowest == 1 else f" at least {self.lowest} times"
            times += "" if self.highest is None else f"{' and' if times else ''} at most {self.highest} times"
        where = "" if self.where is None else f" where it {self.where}"
        return f"did {self.event!r}{times}{where}{_within(self.window)}"


@frozen(repr=False)
class _InOrder(Condition):
    """A condition of several steps, one after the other; made by `in_order`."""

    steps: tuple[_Did | _Has, ...]
    window: Window | None

    def sql(self, key: Key, binder: Binder | NameCollector) -> str:
        if key != "person":
            msg = "where= tests the values of the event's second: it takes has(…), not in_order(…)"
            raise TypeError(msg)
        reached = ""
        for place, step in enumerate(self.steps):
            count = step.lowest if isinstance(step, _Did) else 1
            time = "min(m.time)" if count == 1 else f"list_sort(list(m.time))[{count}]"
            having = f"having count(*) >= {count}"
            moments = step.moments(binder, self.window)
            if place == 0:
                reached = f"select person, {time} as t0 from ({moments}) m group by person {having}"
                continue
            after = [f"m.time >= r.t{place - 1}"]
            after += [f"m.time > r.t{at}" for at in range(place) if self._name(at) == self._name(place)]
            before = ", ".join(f"any_value(r.t{at}) as t{at}" for at in range(place))
            reached = f"""
                select r.person, {before}, {time} as t{place}
                from ({reached}) r join ({moments}) m on r.person = m.person and {" and ".join(after)}
                group by r.person {having}"""
        return f"person in (select person from ({reached}))"

    def _name(self, place: int) -> tuple[bool, str]:
        step = self.steps[place]
        return (True, fold_name(step.event)) if isinstance(step, _Did) else (False, fold_name(step.split.property))

    def __repr__(self) -> str:
        return f"({', then '.join(map(repr, self.steps))}{_within(self.window)})"


def did(
    event: str,
    *,
    at_least: int | None = None,
    at_most: int | None = None,
    exactly: int | None = None,
    where: Condition | None = None,
    window: Window | None = None,
) -> Condition:
    """Choose people who did an event: at least once, or a number of times.

    `exactly=0` and `~did(…)` are those who did not; `at_most=` alone counts from 1. `where=has(…)` takes only
    occurrences in whose second the person was given such a value. Without `window` the whole of the facts counts,
    whatever the report's own window.

    Source: https://oldsupport.kissmetrics.com/tools/people-search.html.

    >>> did("signed up") & ~did("purchased", at_least=2)
    (did 'signed up' and not (did 'purchased' at least 2 times))
    """
    as_name(event)
    if exactly is not None and (at_least is not None or at_most is not None):
        msg = "exactly= stands alone: at_least= and at_most= together are a range"
        raise ValueError(msg)
    for name, number in (("at_least", at_least), ("at_most", at_most), ("exactly", exactly)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            msg = f"{name} is a number of times, 0 or more, not {number!r}"
            raise ValueError(msg)
    _check(window)
    if where is not None:
        check_condition(where)
    lowest = exactly if exactly is not None else 1 if at_least is None else at_least
    return _Did(event, lowest, exactly if exactly is not None else at_most, where, window)


def has(
    property: str | Split,  # noqa: A002
    *,
    containing: str | None = None,
    equal_to: str | float | Decimal | None = None,
    beginning: str | None = None,
    ending: str | None = None,
    window: Window | None = None,
) -> Condition:
    """Choose people who were given a value of a property at any time: any value, or one that fulfils every test.

    Tests look at the text of a value and tell small letters from capitals. A `Split` gives the form that is tested:
    `has(Split("referrer", form="domain"), equal_to="example.org")`. The vendor's "without a value" is `equal_to=""`; a
    null counts as not sent. "Customer ID" is every identity of a person, so
    `~has("Customer ID", containing="@acme.com")` leaves out the staff.

    Source: https://oldsupport.kissmetrics.com/tools/filters.html.

    >>> has("plan", equal_to="Pro") | has("plan", beginning="Team")
    (has 'plan' equal to 'Pro' or has 'plan' beginning 'Team')
    """
    asked = {"containing": containing, "equal_to": equal_to, "beginning": beginning, "ending": ending}
    tests: dict[str, str] = {}
    for name, value in asked.items():
        if value is None:
            continue
        if name != "equal_to" and not isinstance(value, str):
            msg = f"{name} is a text, not {value!r}"
            raise TypeError(msg)
        tests[name] = str(value)
    _check(window)
    return _Has(property if isinstance(property, Split) else Split(property), tests, window)


def in_order(*steps: str | Condition, window: Window | None = None) -> Condition:
    """Choose people who fulfilled several conditions one after the other; the same second counts as after.

    A step is the name of an event, `did(…)` with `at_least=` and `where=`, or `has(…)`. An event that has to come three
    times is done with the third occurrence at or after the moment of the step before; each step takes its earliest.
    Where an event or a property is in several steps, each needs a later second. What a person did in between does not
    matter. One `window` holds for all steps, as in the vendor's people search.

    Source: https://oldsupport.kissmetrics.com/tools/people-search.html, "all of these in order"; the same second is
    ours, as a funnel has it. Raises TypeError or ValueError for a condition that has no moment: one that is joined by
    `&`, `|` or `~`, that has a most, or a window of its own.

    >>> in_order("visited site", did("viewed product", at_least=2), has("plan"))
    (did 'visited site', then did 'viewed product' at least 2 times, then has 'plan')
    """
    _check(window)
    if not steps:
        msg = "in_order takes the steps in their order: in_order('visited site', 'signed up')"
        raise ValueError(msg)
    return _InOrder(tuple(_as_step(step) for step in steps), window)


def _as_step(step: str | Condition) -> _Did | _Has:
    """Return a condition that has a moment; TypeError or ValueError for another."""
    found = did(step) if isinstance(step, str) else step
    if not isinstance(found, _Did | _Has):
        msg = f"a step of in_order is an event, did(…) or has(…), not {step!r}"
        raise TypeError(msg)
    if found.window is not None:
        msg = f"in_order has one window for all steps: take it out of {step!r}, and give in_order(…, window=…)"
        raise ValueError(msg)
    if isinstance(found, _Did) and (found.lowest < 1 or found.highest is not None):
        msg = f"a step of in_order happens once or at_least= some times: {step!r} has no moment"
        raise ValueError(msg)
    if isinstance(found, _Has) and fold_name(found.split.property) == CUSTOMER_ID:
        msg = f"the name of a person has no moment: join it with &, as in in_order(…) & {step!r}"
        raise ValueError(msg)
    return found


def _check(window: Window | None) -> None:
    if window is not None:
        check_window(window)


def _within(window: Window | None) -> str:
    return "" if window is None else f" within {window}"
