"""By which value of a property a report files people: at which moment, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from kmexport.facts.sql import text_of
from kmexport.format.decoding import FIRST_TIMESTAMP
from kmexport.format.names import fold_name
from kmexport.reports.channels import CHANNEL_EVENTS, CHANNEL_PROPERTIES, COMPUTED, ChannelRules, channel_assignments
from kmexport.reports.periods import PeriodLookup
from kmexport.reports.query import WITH_NAMES, ask, bounds_of, check_one_of, is_known, known_name
from kmexport.reports.sql import IN_WINDOW, assignments, first_or_last, in_periods, with_last_value
from kmexport.tables import Facts
from kmexport.windows import Window, check_window, time_at

At: TypeAlias = Literal[
    "last_touch",
    "first_ever",
    "last_ever",
    "every_ever",
    "first_in_window",
    "last_in_window",
    "every_in_window",
    "at_step",
]
ValueForm: TypeAlias = Literal["as_sent", "lowercase", "url", "domain", "path"]

CUSTOMER_ID: Final = "customer id"
EVER: Final[tuple[At, ...]] = ("first_ever", "last_ever")
PERSONS_OWN: Final[tuple[At, ...]] = (*EVER, "first_in_window", "last_in_window")
EVERY_VALUE: Final[tuple[At, ...]] = ("every_ever", "every_in_window")

_ADDRESS: Final = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?"
_HOST: Final = rf"{_ADDRESS}(?:[^/?#@]*@)?([^/:?#]*)"
_PATH: Final = rf"{_ADDRESS}[^/?#]*([^?#]*)"
_FORMS: Final[dict[str, str]] = {
    "as_sent": "{}",
    "lowercase": "lower({})",
    "url": "coalesce(nullif({}, ''), 'Direct')",
    "domain": f"coalesce(nullif(lower(regexp_extract({{}}, '{_HOST}', 1)), ''), 'Direct')",
    "path": f"case when coalesce({{}}, '') = '' then 'Direct' "
    f"else coalesce(nullif(regexp_extract({{}}, '{_PATH}', 1), ''), '/') end",
}


# A zone's hour and day change with a quarter of an hour of UTC, but for a few: in Newfoundland clocks were changed a
# minute after midnight, and before 1973 some were seconds from UTC. The engine divides towards zero, so the quarters
# are counted from the year 1.
_QUARTER: Final = 900  # seconds
_SECOND: Final = "epoch_us(time) // 1000000"
_QUARTER_OF: Final = f"(({_SECOND}) - {FIRST_TIMESTAMP}) // {_QUARTER} * {_QUARTER} + {FIRST_TIMESTAMP}"

Grouped: TypeAlias = Literal["times", "first_time", "last_time", "every_time", "total", "minimum", "maximum", "average"]
Shown: TypeAlias = Literal["date", "month", "month_of_year", "year", "weekday", "day_of_month", "hour"]
_OF_TIMES: Final = ("first_time", "last_time", "every_time")
_OF_NUMBERS: Final = {
    "total": "fsum(number)",
    "minimum": "min(number)",
    "maximum": "max(number)",
    "average": "favg(number)",
}
_SHOWN: Final[dict[str, str]] = {
    "date": "%Y-%m-%d",
    "month": "%Y-%m",
    "month_of_year": "%m - %b",
    "year": "%Y",
    "weekday": "%A",
    "day_of_month": "%d",
    "hour": "%H:00",
}


@frozen
class Split:
    """A property to split by: `by=Split("referrer", at="first_ever", form="domain")`.

    `at` says which of a person's values counts: `"last_touch"` (in force at the event itself: of its second, else the
    latest before), `"first_ever"`, `"last_ever"` (of all time), `"first_in_window"`, `"last_in_window"` (received
    within it), or `"at_step"` (in force when the person reached a step: `step=`, the event or the number of a funnel's
    step). Without it, each report has a choice of its own, and says which. Only in the rows of `pivot` a person may
    stand under every value they were given: `"every_ever"`, `"every_in_window"`.

    `form` says how values are shown: `"as_sent"`, `"lowercase"`, or the `"url"`, `"domain"` or `"path"` of an address.
    With one of these three, people without an address stand under "Direct". Otherwise people without a value stand
    under None.

    "Customer ID" is a property of everyone: the person's name. "Channel", "Origin" and "Channel: Origin" are computed
    from the automatic properties where no record sets them, by the `channels` rules.

    Sources: https://oldsupport.kissmetrics.com/tools/attribution.html,
    https://oldsupport.kissmetrics.com/tools/advanced-properties.html and
    https://oldsupport.kissmetrics.com/tools/channel-definition.html.

    >>> from kmexport import Event, Facts, reports
    >>> facts = Facts([
    ...     Event("a", 1, "visited site", {"referrer": "https://News.example.org/front"}),
    ...     Event("a", 2, "signed up"), Event("b", 3, "signed up"),
    ... ])
    >>> by = reports.Split("referrer", at="first_ever", form="domain")
    >>> found = reports.event_counts(facts, "signed up", by=by)
    >>> [(row.value, row.people) for row in found.rows]
    [('Direct', 1), ('news.example.org', 1)]
    """

    property: str
    at: At | None = field(default=None, kw_only=True)
    step: str | int | None = field(default=None, kw_only=True)
    form: ValueForm = field(default="as_sent", kw_only=True)
    channels: ChannelRules = field(factory=ChannelRules, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        as_name(self.property)
        check_one_of("form", _FORMS, self.form)
        if self.at is not None:
            check_one_of("at", ["last_touch", *PERSONS_OWN, *EVERY_VALUE, "at_step"], self.at)
        if self.step is not None and self.at != "at_step":
            msg = f'step= needs at="at_step": Split({self.property!r}, at="at_step", step={self.step!r})'
            raise ValueError(msg)

    def needed(self) -> tuple[list[str], list[str]]:
        """Return the events and the properties that the split has to read."""
        folded = fold_name(self.property)
        if folded == CUSTOMER_ID:
            return [], []
        return (CHANNEL_EVENTS, [folded, *CHANNEL_PROPERTIES]) if folded in COMPUTED else ([], [self.property])

    def bind(self, facts: Facts, parameter: str, params: dict[str, object], at: At) -> BoundSplit:
        """Put what the query needs into the params, under the parameter's name; UnknownNameError for no such name."""
        source = assignments_of(facts, self, parameter, params)
        respelled = respell(facts, parameter, params) if parameter in params else None
        return BoundSplit(self.property, source, self.at or at, self.form, self.step, respelled)


By: TypeAlias = str | Split


def as_split(by: By) -> Split:
    """Return a Split of a name, and a Split as it is."""
    return by if isinstance(by, Split) else Split(by)


def as_name(name: object) -> str:
    """Return the name; TypeError for anything but text."""
    if not isinstance(name, str):
        msg = f"the name of an event or a property is text, or a Split of one, not {name!r}"
        raise TypeError(msg)
    return name


def by_name(by: By | None) -> str | None:
    """Return the name of the property that is split by."""
    return by.property if isinstance(by, Split) else by


def in_form(text: str, form: ValueForm) -> str:
    """Return the expression for a text in a form."""
    return _FORMS[form].replace("{}", text)


@frozen
class BoundSplit:
    """A Split as SQL: the assignments of its property (None: the person's name), the moment and the form."""

    name: str
    assignments: str | None
    at: At
    form: ValueForm
    step: str | int | None = None
    respelled: str | None = None  # the parameter of numbers that were sent otherwise before
    within: str = IN_WINDOW  # which of the values count, at the moments that look at the window

    def shown(self, value: str) -> str:
        """Return the expression for a value (JSON) as it is shown."""
        return in_form(shown_text(value, self.respelled), self.form)

    @property
    def is_by_touch(self) -> bool:
        """True where each event of a person has a value of its own."""
        return self.at == "last_touch" and self.assignments is not None

    @property
    def adds_up(self) -> bool:
        """True where each row stands under one value."""
        return self.at not in EVERY_VALUE or self.assignments is None

    def with_split_value(self, source: str, lookup: PeriodLookup | None, *, column: str = "value") -> str:
        """Return the source (person, time where it matters, period), each row with the value that it is filed under."""
        if self.assignments is None:
            joined, text = "", in_form("o.person", self.form)
        elif self.at in (*PERSONS_OWN, *EVERY_VALUE):
            is_in_periods = lookup is not None and self.at.endswith("in_window")
            keys = ["person", "period"] if is_in_periods else ["person"]
            joined = f"left join ({self._of_persons(lookup, keys)}) p using ({', '.join(keys)})"
            text = f"coalesce(p.shown, {self.shown('null::json')})"
        else:
            text = self.shown("set_value")
            return (
                f"select * exclude (set_value), {text} as {column} from ({with_last_value(source, self.assignments)})"
            )
        return f"select o.*, {text} as {column} from ({source}) o {joined}"

    def _of_persons(self, lookup: PeriodLookup | None, keys: Sequence[str]) -> str:
        """Return the query of the values that persons have for the keys: the keys, shown."""
        found = str(self.assignments)
        if self.at.endswith("in_window"):
            found = in_periods(f"select * from ({found}) where {self.within}", lookup)
        if self.at in EVERY_VALUE:
            return f"select distinct {', '.join(keys)}, {self.shown('value')} as shown from ({found})"
        which: Literal["first", "last"] = "first" if self.at.startswith("first") else "last"
        return (
            f"select {', '.join(keys)}, {self.shown('set_value')} as shown from ({first_or_last(found, which, keys)})"
        )


def respell(facts: Facts, parameter: str, params: dict[str, object]) -> str | None:
    """Put into the params which numbers of the property were sent in another spelling before, if any were.

    1.50, 1.5 and 15e-1 are one number, and shown as it was first sent. Text does not count as a number here.
    Returns the prefix of the parameters.
    """
    # Of JSON only a number begins with a minus or a digit, and a comparison is cheaper than a pattern.
    values = f"select value::varchar as text, seq from {WITH_NAMES['property']} where name = ${parameter}"
    is_number, odd = "text >= '-' and text < ':'", r"[eE]|\.[0-9]*0$|^-0(\.0*)?$"
    is_odd = f"case when {is_number} then regexp_matches(text, '{odd}') end"
    if not ask(facts, f"select 1 from ({values}) where {is_odd} limit 1", params):
        return None
    first: dict[Decimal, str] = {}
    respelled = {}
    numbers = f"select text, min(seq) as first from ({values}) where {is_number} group by text order by first"
    for spelled, _ in ask(facts, numbers, params):
        shown = first.setdefault(Decimal(spelled), spelled)
        if shown != spelled:
            respelled[spelled] = shown
    if not respelled:
        return None
    params[f"{parameter}_sent"], params[f"{parameter}_shown"] = list(respelled), list(respelled.values())
    return parameter


def shown_text(value: str, respelled: str | None) -> str:
    """Return the expression for a value (JSON) as text; a number as it was first sent."""
    if respelled is None:
        return text_of(value)
    first = f"${respelled}_shown[list_position(${respelled}_sent, {value}::varchar)]"
    return f"coalesce({first}, {text_of(value)})"


def assignments_of(facts: Facts, split: Split, parameter: str, params: dict[str, object]) -> str | None:
    """Return the query of `assignments` for the property; None where it is the person's name."""
    folded = fold_name(split.property)
    if folded == CUSTOMER_ID:
        return None
    if folded in COMPUTED and not is_known(facts, "property", folded):
        events, properties = split.needed()
        for event in events:
            facts.check_read(event=event)
        for name in properties:
            facts.check_read(property=name)
        return channel_assignments(COMPUTED[folded], split.channels, parameter, params)
    params[parameter] = known_name(facts, "property", split.property)
    return assignments(parameter)


@frozen
class GroupBy:
    """Rows of `pivot` by what people did, or by a number of theirs; `window` is the pivot's without one of its own.

    `"times"` of an event: how often each person did it, "0" for never. `"first_time"`, `"last_time"` or `"every_time"`
    of an event: when they did it in the report's zone, shown as a `"date"` (2010-10-11), `"month"` (2010-10),
    `"month_of_year"` (10 - Oct), `"year"`, `"weekday"`, `"day_of_month"` or `"hour"` (17:00); with `"every_time"` a
    person may stand in several rows. `"total"`, `"minimum"`, `"maximum"` or `"average"` of a property: of the person's
    own numbers. Who has none stands under None.

    >>> GroupBy("first_time", "signed up", shown="month").title
    'signed up: first time, month'
    """

    what: Grouped
    name: str
    shown: Shown = field(default="date", kw_only=True)
    window: Window | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_one_of("what", ["times", *_OF_TIMES, *_OF_NUMBERS], self.what)
        check_one_of("shown", _SHOWN, self.shown)
        as_name(self.name)
        if self.window is not None:
            check_window(self.window)

    @property
    def title(self) -> str:
        """The head of the rows."""
        shown = f", {self.shown.replace('_', ' ')}" if self.what in _OF_TIMES else ""
        return f"{self.name}: {self.what.replace('_', ' ')}{shown}"

    def needed(self) -> tuple[list[str], list[str]]:
        """Return the events and the properties that the rows have to read."""
        return ([], [self.name]) if self.what in _OF_NUMBERS else ([self.name], [])

    def bind(
        self, facts: Facts, parameter: str, params: dict[str, object], window: Window | None, zone: tzinfo
    ) -> BoundGroup:
        """Put what the query needs into the params, each under a name that begins with the parameter."""
        in_window = within(parameter, self.window or window, params)
        kind: Literal["event", "property"] = "property" if self.what in _OF_NUMBERS else "event"
        params[f"{parameter}_name"] = known_name(facts, kind, self.name)
        source = f"""
            from kmexport.{"numbered_properties" if kind == "property" else "numbered_events"}
            where name = ${parameter}_name and {in_window}"""
        if self.what == "times":
            return BoundGroup(f"select person_id as person, count(*)::varchar as text {source} group by person_id", "0")
        if self.what in _OF_NUMBERS:
            number = f"select person_id as person, {_OF_NUMBERS[self.what]} as number {source} and number is not null"
            whole = "number = trunc(number) and abs(number) < 1e15"
            # round() multiplies first, which must lose nothing; larger doubles hold no ninth decimal.
            rounded = "case when abs(number) < 9e6 then round(number, 9) else number end"
            text = f"case when {whole} then number::bigint::varchar else ({rounded})::varchar end"
            return BoundGroup(f"select person, {text} as text from ({number} group by person_id)", None)
        time = {"first_time": "min(time)", "last_time": "max(time)"}.get(self.what)
        chosen = f"select person_id as person, time {source}"
        if time is not None:
            chosen = f"select person_id as person, {time} as time {source} group by person_id"

        def text_at(moment: int) -> str:
            return f"{time_at(moment, zone):{_SHOWN[self.shown]}}"

        def starts_of(stretch: str) -> list[int]:
            return [start for (start,) in ask(facts, f"select distinct {stretch} from ({chosen})", params)]

        stretch, starts = _QUARTER_OF, starts_of(_QUARTER_OF)
        if odd := [start for start in starts if text_at(start) != text_at(start + _QUARTER - 1)]:
            params[f"{parameter}_odd"] = odd
            is_odd = f"list_contains(${parameter}_odd::bigint[], {_QUARTER_OF})"
            stretch = f"case when {is_odd} then {_SECOND} else {_QUARTER_OF} end"
            starts = starts_of(stretch)
        params[f"{parameter}_starts"] = starts
        params[f"{parameter}_texts"] = list(map(text_at, starts))
        texts = f"""
            select unnest(${parameter}_starts::bigint[]) as since, unnest(${parameter}_texts::varchar[]) as text"""
        text = f"select distinct person, text from ({chosen}) join ({texts}) on {stretch} = since"
        return BoundGroup(text, None, adds_up=self.what != "every_time")


def within(parameter: str, window: Window | None, params: dict[str, object]) -> str:
    """Return the condition that a row lies in the window; its bounds are put into the params, with this prefix."""
    params |= {f"{parameter}_{name}": moment for name, moment in bounds_of(window).items()}
    return IN_WINDOW.replace("$", f"${parameter}_")


@frozen
class BoundGroup:
    """A GroupBy as SQL: person, text; `missing` is the text of who has none."""

    query: str
    missing: str | None
    adds_up: bool = True

    def with_split_value(self, source: str, _: PeriodLookup | None, *, column: str) -> str:
        text = "g.text" if self.missing is None else f"coalesce(g.text, '{self.missing}')"
        return f"select o.*, {text} as {column} from ({source}) o left join ({self.query}) g using (person)"
