"""Writes the sample export that ships in the package: `python tests/support/make_sample.py`.

A small shop for hand-made ceramics, from 3 September to 5 October 2012. People come anonymous, look at products, sign
up (an alias ties the browser's id to the e-mail address), buy, and come back in the weeks after. On the first of
October the news wrote about the shop, so most people are of that week.

What makes counting hard is in it: some sign up once more on a phone, whose alias comes at once or a day later, so
aliases chain; browsers retry, and the shop's server reports some sign-ups as well, so events stand twice; phones send
late, some after days, and one purchase was imported weeks later, so records lie in later revisions. The index says when
the batches of five minutes came, as that of a real export does. The same seed gives the same bytes; a test compares
them with what ships.
"""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from zoneinfo import ZoneInfo

from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.revisions.manifest import batch_time
from kmexport.testing import write_export

SEED = 3101  # one with which each step of docs/new-york.md changes its number
PEOPLE = 200
RECORDS = 2_000
OCTAL_LINES = 441
REVISIONS = 12
DAY = 86_400
WEEK = 7 * DAY
FIRST = int(datetime(2012, 9, 3, tzinfo=ZoneInfo("America/New_York")).timestamp())
IMPORTED = datetime(2012, 10, 2, 14, 0, tzinfo=UTC).timestamp()
LAST = int(datetime(2012, 10, 5, 23, 0, tzinfo=UTC).timestamp())  # 19:00 in New York: the last day is not whole

NAMES = [
    "ana", "bob", "chloé", "dirk", "eve", "fatima", "george", "hana", "inês", "josé", "karen", "liam",
    "maría", "nils", "olga", "pedro", "quinn", "rosa", "søren", "tomás", "uma", "vera", "will", "xenia", "yuki", "zoë",
]  # fmt: skip
CITIES = ["Paraná", "São Paulo", "New York", "London", "Zürich", "Los Angeles", "Málaga", "Kraków", "Boston"]
PRODUCTS = ["blue mug", "tea bowl", "large plate", "small plate", "vase", "crème brûlée set", "butter dish"]
# How many of a hundred choose a plan, and how many of those are back in each week after.
PLANS = {"Free": (50, 40), "Pro": (33, 65), "Team": (17, 85)}
# How many of a hundred come from there, and how many of those sign up at their first visit.
REFERRERS = {
    "news.example.org": (30, 70),
    "www.google.com": (27, 55),
    "twitter.com": (18, 40),
    "": (15, 75),
    "www.bing.com": (10, 50),
}
# When people come, in hours of New York: a shop with customers in the Americas and in Europe.
HOURS = [2, 5, 8, 9, 10, 11, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 21, 21, 22]


class Shop:
    def __init__(self) -> None:
        self.random = random.Random(SEED)
        # (moment of arrival, record): the vendor writes in the order in which it received the data
        self.arrivals: list[tuple[float, Record]] = []

    def record(self, record: Record) -> None:
        chance = self.random.random()
        delay = self.random.uniform(0, 20)
        if chance < 0.04:  # a phone that was offline: neighbouring days, out of order
            delay = self.random.uniform(3_600, 40_000)
        self.arrivals.append((record.timestamp + delay, record))
        if self.random.random() < 0.03:  # a browser that tried again
            self.arrivals.append((record.timestamp + delay + self.random.uniform(1, 400), record))

    def chance(self, percent: int) -> bool:
        return self.random.random() * 100 < percent

    def choice(self, shares: dict[str, tuple[int, int]]) -> str:
        return self.random.choices(list(shares), [share for share, _ in shares.values()])[0]

    def anonymous(self) -> str:
        return base64.b64encode(self.random.randbytes(20)).decode()

    def moment(self, day: int) -> int:
        hour = self.random.choice(HOURS if day < 32 else [hour for hour in HOURS if hour < 18])
        return FIRST + day * DAY + hour * 3_600 + self.random.randrange(3_600)

    def visit(self, person: str, start: int, referrer: str) -> int:
        """What one visit leaves, and the moment it ends."""
        at = start
        self.record(Event(person, at, "visited site", {"referrer": referrer}))
        for _ in range(self.random.choice([1, 1, 2, 2, 3, 4])):
            at += self.random.randrange(5, 300)
            name = self.random.choice(["viewed product", "viewed product", "Viewed Product", "searched"])
            properties = {"search terms" if name == "searched" else "product": self.random.choice(PRODUCTS)}
            self.record(Event(person, at, name, properties))
        return at

    def buy(self, person: str, at: int, percent: int) -> int:
        at += self.random.randrange(20, 200)
        product = self.random.choice(PRODUCTS)
        self.record(Event(person, at, "added to cart", {"product": product}))
        if self.chance(percent):
            at += self.random.randrange(20, 400)
            amount = self.random.choice(["12.50", "24.00", "8.90", "119.00", 24, 12.5])
            self.record(Event(person, at, "purchased", {"product": product, "billing amount": amount, "_d": 1}))
        return at

    def person(self, number: int) -> None:
        browser = self.anonymous()
        referrer = self.choice(REFERRERS)
        # Four quiet weeks with a few more in each, then the week of the news.
        quiet = number < PEOPLE * 9 // 20
        day = int(28 * self.random.random() ** 0.8) if quiet else 28 + self.random.randrange(5)
        at = self.visit(browser, self.moment(day), referrer)
        if not self.chance(REFERRERS[referrer][1]):
            if number % 4 == 0:  # buys as a guest, with no plan
                at = self.buy(browser, at, 60)
            later = at + self.random.randrange(DAY, 2 * WEEK)
            if number % 3 or later > LAST:
                return  # never signs up
            at = self.visit(browser, later, self.choice(REFERRERS))  # thought about it for some days
        email = f"{self.random.choice(NAMES)}{number}@example.com"
        at += self.random.randrange(10, 120)
        plan = self.choice(PLANS)
        self.sign_up(number, browser, email, at, plan)
        signed_up = at
        if self.chance(70):
            at = self.buy(email, at, 60)
        if number % 4 == 0:
            self.second_device(number, browser, signed_up, plan)
        if number % 7 == 0:  # an account number beside the address
            self.record(Alias(str(10_000 + number), at + 1, email))
            self.record(Event(str(10_000 + number), at + 2, "opened newsletter", {"subject": "Ofertas de otoño"}))
        self.come_back(email, signed_up, plan)

    def sign_up(self, number: int, browser: str, email: str, at: int, plan: str) -> None:
        self.record(Event(browser, at, "signed up", {"plan": plan}))
        self.record(Alias(email, at, browser))
        self.record(PropertySet(email, at + 1, {"city": self.random.choice(CITIES), "plan": plan}))
        if number % 5 == 0 and email.isascii():
            # The server tells of it as well, at the same second, under the address; every other time hours later.
            delay = self.random.uniform(1, 4) if number % 2 else self.random.uniform(3_600, 40_000)
            self.arrivals.append((at + delay, Event(email, at, "signed up", {"plan": plan, "_d": 1})))

    def second_device(self, number: int, browser: str, signed_up: int, plan: str) -> None:
        """Email = browser, and browser = phone; the second link comes at once or a day later."""
        at = signed_up + self.random.randrange(1_000, 12_000)
        if at > LAST:
            return
        phone = self.anonymous()
        at = self.visit(phone, at, "")
        if number % 8 == 0:
            # Two events of one second that share a property.
            self.arrivals[-1][1].properties["device"] = "phone"
            self.record(Event(phone, at, "Signed Up", {"plan": plan, "device": "phone"}))
        if number % 16 == 0 and at < LAST - 80_000:
            at += self.random.randrange(50_000, 80_000)
        self.record(Alias(phone, at, browser))

    def come_back(self, email: str, signed_up: int, plan: str) -> None:
        """A few visits in the weeks after, fewer with each week; some take another plan."""
        stays = PLANS[plan][1]
        for week in range(5):
            if not self.chance(stays * 4 // (4 + week)):
                continue
            at = signed_up + week * WEEK + self.random.randrange(4 * 3_600, WEEK)
            if at > LAST:
                return
            at = self.visit(email, at, self.random.choice(list(REFERRERS)))
            if self.chance(35):
                at = self.buy(email, at, 65)
                if plan == "Free" and self.chance(25):
                    plan = "Pro"
                    self.record(PropertySet(email, at + 1, {"plan": plan}))

    def fill_up(self) -> None:
        """Make the numbers of records and of octal lines round: newsletters, and visits that end at once."""
        known_since: dict[str, int] = {}
        for _, record in self.arrivals:
            if isinstance(record, PropertySet) and record.timestamp < LAST - DAY:
                known_since.setdefault(record.person, record.timestamp)
        people = sorted(known_since)
        octal = sum(record_is_octal(record) for _, record in self.arrivals)
        for _ in range(OCTAL_LINES - octal):
            person = self.random.choice(people)
            at = self.random.randrange(known_since[person], LAST)
            self.arrivals.append((at + 5, Event(person, at, "opened newsletter", {"subject": "Ofertas de otoño"})))
        plain = [person for person in people if person.isascii()]
        for _ in range(RECORDS - len(self.arrivals)):
            person = self.random.choice(plain)
            at = self.random.randrange(known_since[person], LAST)
            self.arrivals.append((at + 5, Event(person, at, "visited site", {"referrer": self.choice(REFERRERS)})))

    def come_late(self) -> None:
        """Some phones were offline for days, and the till's list of one purchase was imported weeks later."""
        late = [at for at, (moment, record) in enumerate(self.arrivals) if moment - record.timestamp > 3_600]
        for days, at in enumerate(late[4:60:25], 1):
            moment, record = self.arrivals[at]
            self.arrivals[at] = moment + days * DAY, record
        purchases = [
            at for at, (_, one) in enumerate(self.arrivals) if isinstance(one, Event) and one.name == "purchased"
        ]
        at = sorted(purchases, key=lambda one: self.arrivals[one][0])[1]
        self.arrivals[at] = IMPORTED, self.arrivals[at][1]


def build() -> list[list[tuple[float, Record]]]:
    """For each revision its records, each with the moment at which it came."""
    shop = Shop()
    for number in range(PEOPLE):
        shop.person(number)
    shop.fill_up()
    shop.come_late()
    # The export goes up to LAST.
    arrivals = sorted(((min(moment, LAST), record) for moment, record in shop.arrivals), key=itemgetter(0))
    size = -(-RECORDS // REVISIONS)
    return [arrivals[at : at + size] for at in range(0, RECORDS, size)]


def main(target: Path) -> None:
    arrivals = dict(enumerate(build(), 1))
    revisions = {number: [record for _, record in came] for number, came in arrivals.items()}
    odd = {
        number: [record if record_is_octal(record) else shuffled(record) for record in records]
        for number, records in revisions.items()
    }
    ranges = {
        number: (batch_time(number, came[0][0]), batch_time(number, came[-1][0])) for number, came in arrivals.items()
    }
    write_export(target, odd, octal=list(odd), ranges=ranges, pending=1)


def record_is_octal(record: Record) -> bool:
    return not json.dumps(record.to_dict(), ensure_ascii=False).isascii()


def shuffled(record: Record) -> str:
    """The line of a record. The vendor's keys come in any order; the seed is the record's, so lines change alone."""
    pairs = list(record.to_dict().items())
    random.Random(json.dumps(pairs)).shuffle(pairs)
    return json.dumps(dict(pairs), separators=(",", ":"))


if __name__ == "__main__":
    main(Path(__file__).parents[2] / "kmexport" / "sample")
