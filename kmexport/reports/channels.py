"""Channels: where people came from, by the vendor's seven rules over the automatic properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from kmexport.reports.sql import ASSIGNED, MOMENT

ChannelKind: TypeAlias = Literal["channel", "origin", "both"]

# The computed properties by their folded names.
COMPUTED: Final[dict[str, ChannelKind]] = {"channel": "channel", "origin": "origin", "channel  origin": "both"}

_MEDIA: Final[Mapping[str, str]] = MappingProxyType({
    **dict.fromkeys(("cpc", "cpm", "display", "cpv", "cpa", "cpp", "ppc"), "Paid"),
    **dict.fromkeys(("email", "e-mail"), "Email"),
    **dict.fromkeys(("organic", "search"), "Organic"),
    **dict.fromkeys(
        ("social", "social-network", "social-media", "sm", "social network", "social media"),
        "Social",
    ),
})  # fmt: skip
_SEARCH: Final[Mapping[str, str]] = MappingProxyType({
    "google": "Google", "bing": "Bing", "yahoo": "Yahoo", "duckduckgo": "DuckDuckGo", "baidu": "Baidu",
    "yandex": "Yandex", "ask": "Ask", "aol": "AOL", "ecosia": "Ecosia", "naver": "Naver", "qwant": "Qwant",
})  # fmt: skip
_SOCIAL: Final[Mapping[str, str]] = MappingProxyType({
    "facebook.com": "Facebook", "fb.com": "Facebook", "fb.me": "Facebook", "twitter.com": "Twitter", "t.co": "Twitter",
    "x.com": "X", "linkedin.com": "LinkedIn", "lnkd.in": "LinkedIn", "pinterest.com": "Pinterest",
    "instagram.com": "Instagram", "youtube.com": "YouTube", "youtu.be": "YouTube", "plus.google.com": "Google+",
    "reddit.com": "Reddit", "tumblr.com": "Tumblr", "quora.com": "Quora", "vk.com": "VK", "xing.com": "Xing",
    "news.ycombinator.com": "Hacker News", "stumbleupon.com": "StumbleUpon", "digg.com": "Digg", "vimeo.com": "Vimeo",
    "medium.com": "Medium", "flickr.com": "Flickr", "slideshare.net": "SlideShare", "yelp.com": "Yelp",
    "tiktok.com": "TikTok", "snapchat.com": "Snapchat", "weibo.com": "Weibo", "meetup.com": "Meetup",
})  # fmt: skip

_NAMES: Final = {
    "medium": "campaign medium",
    "campaign": "campaign name",
    "engine": "search engine",
    "referrer": "referrer",
    "url": "url",
}
_VISIT: Final = "visited site"
CHANNEL_EVENTS: Final = [_VISIT]
CHANNEL_PROPERTIES: Final = list(_NAMES.values())
_HOST: Final = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?(?:[^/?#@]*@)?(?:www\.)?([^/:?#]*)"
# The last two labels of a host, three where the last but one is a common one below a country: example.co.uk.
_SITE: Final = r"([^.]+\.(?:(?:co|com|org|net|gov|edu|ac|or|ne|go)\.[a-z]{2}|[^.]+))$"


@frozen
class ChannelRules:
    """The lists by which a channel is told. Pass your own to `Split("Channel", channels=ChannelRules(…))`.

    `media` gives the channel of each `utm_medium` in small letters (the vendor's list; any other one is a channel of
    its own). `search` names the search engines by the first part of their site ("google" of www.google.co.uk), and
    `social` the networks by their host or site: the vendor did not publish these two, so they are ours.

    Source: https://oldsupport.kissmetrics.com/tools/channel-definition.html.
    """

    media: Mapping[str, str] = field(default=_MEDIA, kw_only=True, hash=False)
    search: Mapping[str, str] = field(default=_SEARCH, kw_only=True, hash=False)
    social: Mapping[str, str] = field(default=_SOCIAL, kw_only=True, hash=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be pickled: the lists that cannot be changed have no form for that."""
        lists = {"media": dict(self.media), "search": dict(self.search), "social": dict(self.social)}
        return partial(type(self), **lists), ()


def channel_assignments(kind: ChannelKind, rules: ChannelRules, parameter: str, params: dict[str, object]) -> str:
    """Return the query of the seconds in which a channel shows, with the columns that `assignments` has.

    The first rule that fits: the campaign's medium; a Google click id on the landing page; a search engine; a social
    network; any other referrer of a site visit; a visit without one.
    """
    prefix = re.sub(r"\W", "_", parameter)
    for name, mapping in (("media", rules.media), ("search", rules.search), ("social", rules.social)):
        params[f"{prefix}_{name}"] = [key.lower() for key in mapping]
        params[f"{prefix}_{name}_names"] = list(mapping.values())

    def looked_up(name: str, key: str) -> str:
        return f"${prefix}_{name}_names[list_position(${prefix}_{name}, {key})]"

    columns = ", ".join(
        f"arg_max(text, {ASSIGNED}) filter (name = '{name}') as {column}" for column, name in _NAMES.items()
    )
    names = ", ".join(f"'{name}'" for name in _NAMES.values())
    campaign = "coalesce(nullif(campaign, ''), 'Campaign Name Unknown')"
    cases = {
        "nullif(medium, '') is not null": (f"coalesce({looked_up('media', 'lower(trim(medium))')}, medium)", campaign),
        "is_visit and regexp_matches(url, '[?&]gclid=')": ("'Paid'", "'AdWords'"),
        "nullif(engine, '') is not null": ("'Organic'", "engine"),
        f"is_visit and host_network is null and {looked_up('search', 'label')} is not null": (
            "'Organic'",
            looked_up("search", "label"),
        ),
        "is_visit and network is not null": ("'Social'", "network"),
        "is_visit and coalesce(lower(referrer), '') not in ('', 'direct')": ("'Referral'", "site"),
        "is_visit": ("'Direct'", "null"),
    }
    channel, origin = (
        "case " + " ".join(f"when {test} then {found[at]}" for test, found in cases.items()) + " end" for at in (0, 1)
    )
    value = {"channel": "channel", "origin": "origin", "both": "concat_ws(': ', channel, origin)"}[kind]
    return f"""
        with said as (
            select person_id as person, time, {columns} from kmexport.numbered_properties
            where name in ({names}) and value <> 'null' group by person_id, time
        ),
        visits as (
            select distinct person_id as person, time, true as is_visit
            from kmexport.numbered_events where name = '{_VISIT}'
        ),
        hosts as (
            select person, time, medium, campaign, engine, referrer, url, coalesce(is_visit, false) as is_visit,
                lower(regexp_extract(referrer, '{_HOST}', 1)) as host,
                coalesce(nullif(regexp_extract(host, '{_SITE}', 1), ''), host) as site,
                split_part(site, '.', 1) as label, {looked_up("social", "host")} as host_network,
                coalesce(host_network, {looked_up("social", "site")}) as network
            from said full join visits using (person, time)
        )
        select person, time, to_json({value}) as value, {MOMENT} as assigned
        from (select person, time, {channel} as channel, {origin} as origin from hosts)
        where {value} is not null"""
