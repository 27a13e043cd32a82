"""Writes the sample export that ships in the package: `python tests/make_sample.py`.

A small shop for hand-made ceramics, five days around 3 October 2012. People come anonymous, sign up (an alias
ties the browser's id to the e-mail address), look at products, buy. Some come back with a second device, so
aliases chain. Browsers retry, so some lines stand twice; phones send late, so some records lie in a later revision.
The same seed gives the same bytes; a test compares them with what ships.
"""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime
from pathlib import Path

from kmexport.records import Alias, Event, PropertySet, Record
from kmexport.testing import write_export

SEED = 20121003
PEOPLE = 150
RECORDS = 2_000
REVISIONS = 12
FIRST = int(datetime(2012, 10, 1, 0, 0, tzinfo=UTC).timestamp())
LAST = FIRST + 5 * 86_400

NAMES = [
    "ana", "bob", "chloé", "dirk", "eve", "fatima", "george", "hana", "ivan", "josé", "karen", "liam",
    "maría", "nils", "olga", "pedro", "quinn", "rosa", "sam", "tomás", "uma", "vera", "will", "xenia", "yuki", "zoë",
]  # fmt: skip
CITIES = ["Paraná", "São Paulo", "New York", "London", "Zürich", "Los Angeles", "Málaga", "Kraków", "Boston"]
PRODUCTS = ["blue mug", "tea bowl", "large plate", "small plate", "vase", "crème brûlée set", "butter dish"]
PLANS = ["Free", "Pro", "Team"]
REFERRERS = ["www.google.com", "www.bing.com", "twitter.com", "news.example.org", ""]
# When people are awake, in hours of UTC: a shop with customers in the Americas and in Europe.
HOURS = [1, 1, 1, 2, 6, 9, 12, 13, 14, 15, 15, 16, 17, 18, 19, 20, 21, 22, 23]


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

    def anonymous(self) -> str:
        return base64.b64encode(self.random.randbytes(20)).decode()

    def moment(self) -> int:
        day = self.random.randrange(5)
        return FIRST + day * 86_400 + self.random.choice(HOURS) * 3_600 + self.random.randrange(3_600)

    def visit(self, person: str, start: int) -> int:
        """What one visit leaves, and the moment it ends."""
        at = start
        self.record(Event(person, at, "visited site", {"referrer": self.random.choice(REFERRERS)}))
        for _ in range(self.random.randrange(1, 6)):
            at += self.random.randrange(5, 300)
            name = self.random.choice(["viewed product", "viewed product", "Viewed Product", "searched"])
            properties = {"search terms" if name == "searched" else "product": self.random.choice(PRODUCTS)}
            self.record(Event(person, at, name, properties))
        return at

    def buy(self, person: str, at: int) -> int:
        at += self.random.randrange(20, 200)
        product = self.random.choice(PRODUCTS)
        self.record(Event(person, at, "added to cart", {"product": product}))
        if self.random.random() < 0.6:
            at += self.random.randrange(20, 400)
            amount = self.random.choice(["12.50", "24.00", "8.90", "119.00", 24, 12.5])
            self.record(Event(person, at, "purchased", {"product": product, "billing amount": amount, "_d": 1}))
        return at

    def person(self, number: int) -> None:
        browser = self.anonymous()
        at = self.visit(browser, self.moment())
        if number % 3 == 2:
            return  # never signs up
        email = f"{self.random.choice(NAMES)}{number}@example.com"
        at += self.random.randrange(10, 120)
        self.record(Event(browser, at, "signed up", {"plan": self.random.choice(PLANS)}))
        self.record(Alias(email, at, browser))
        properties = {"city": self.random.choice(CITIES), "plan": self.random.choice(PLANS)}
        self.record(PropertySet(email, at + 1, properties))
        if self.random.random() < 0.7:
            at = self.buy(email, at)
        if number % 5 == 0:  # a second device: email = browser, and browser = phone
            phone = self.anonymous()
            at = self.visit(phone, min(at + self.random.randrange(1_000, 50_000), LAST - 4_000))
            if number % 10 == 0:
                self.record(Event(phone, at, "Signed Up", {"plan": self.random.choice(PLANS)}))
            self.record(Alias(phone, at, browser))
        if number % 7 == 0:  # an account number beside the address
            self.record(Alias(str(10_000 + number), at + 1, email))
            self.record(Event(str(10_000 + number), at + 2, "opened newsletter", {"subject": "Ofertas de otoño"}))


def build() -> list[list[Record]]:
    shop = Shop()
    for number in range(PEOPLE):
        shop.person(number)
    regulars = [record.person for _, record in shop.arrivals if isinstance(record, PropertySet)]
    while len(shop.arrivals) < RECORDS + 20:
        person = shop.random.choice(regulars)
        at = shop.visit(person, min(shop.moment(), LAST - 4_000))
        if shop.random.random() < 0.3:
            shop.buy(person, at)
    shop.arrivals.sort(key=lambda arrival: arrival[0])
    records = [record for _, record in shop.arrivals[:RECORDS]]
    size = -(-RECORDS // REVISIONS)
    return [records[at : at + size] for at in range(0, RECORDS, size)]


def main(target: Path) -> None:
    revisions = dict(enumerate(build(), 1))
    odd = {}
    for number, records in revisions.items():
        # The vendor's keys come in any order; ours would always be the same.
        order = random.Random(number)
        odd[number] = [record if record_is_octal(record) else shuffled(record, order) for record in records]
    ranges = {
        number: (min(r.timestamp for r in records), max(r.timestamp for r in records))
        for number, records in revisions.items()
    }
    write_export(target, odd, octal=list(odd), ranges=ranges, pending=1)


def record_is_octal(record: Record) -> bool:
    return not json.dumps(record.to_dict(), ensure_ascii=False).isascii()


def shuffled(record: Record, order: random.Random) -> str:
    pairs = list(record.to_dict().items())
    order.shuffle(pairs)
    return json.dumps(dict(pairs), separators=(",", ":"))


if __name__ == "__main__":
    main(Path(__file__).parent.parent / "kmexport" / "sample")
