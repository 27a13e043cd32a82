"""A real local Spark reads a lake and counts as the iterator does. Run by `nox -s spark`; needs Java.

Where the package delta-spark and its jars are at hand, `spark.read.format("delta")` is the way. Here Spark reads the
files that the table's log names, which needs no jar: what it must not do is take all Parquet files of the folder, for
some of them belong to no version of the table.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter

from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from kmexport import Bucket, Event, Window, lake
from kmexport.format.names import fold_name


def main() -> None:
    bucket = Bucket.sample()
    with tempfile.TemporaryDirectory() as folder:
        print(lake.sync(bucket, folder))
        table = DeltaTable(f"{folder}/records")
        spark = (
            SparkSession.builder.master("local[2]")
            .appName("kmexport")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.ui.enabled", "false")
            .getOrCreate()
        )
        try:
            records = spark.read.option("basePath", table.table_uri).parquet(*table.file_uris())
            check("kinds", rows(records.groupBy("kind").count()), kinds_of(bucket))
            day = Window.day("2012-10-03")
            events = records.where((f.col("day") == "2012-10-03") & (f.col("kind") == "event"))
            people = events.groupBy(f.lower("name")).agg(f.countDistinct("person"))
            check("people per event name, one day", rows(people), people_of(bucket, day))
            second = f.unix_timestamp("time")
            found = rows(
                records.select(f.lit("first"), f.min(second)).union(records.select(f.lit("last"), f.max(second)))
            )
            times = [record.timestamp for record in bucket.iter_records()]
            check("first and last second", found, {"first": min(times), "last": max(times)})
            plans = records.select(f.get_json_object("properties", "$.plan").alias("plan")).groupBy("plan").count()
            print(f"Spark {spark.version} read {records.count():,} records; plans: {rows(plans)}")
        finally:
            spark.stop()


def rows(frame: object) -> dict[object, int]:
    return {row[0]: row[1] for row in frame.collect()}  # type: ignore[attr-defined]


def kinds_of(bucket: Bucket) -> dict[str, int]:
    names = {"Event": "event", "PropertySet": "property_set", "Alias": "alias"}
    return dict(Counter(names[type(record).__name__] for record in bucket.iter_records()))


def people_of(bucket: Bucket, window: Window) -> dict[str, int]:
    found: dict[str, set[str]] = {}
    for event in bucket.iter_records(window, kinds=Event):
        found.setdefault(fold_name(event.name), set()).add(event.person)
    return {name: len(people) for name, people in found.items()}


def check(what: str, found: dict[object, int], expected: dict[str, int]) -> None:
    if found != expected:
        sys.exit(f"{what}: Spark found {found}, and the iterator {expected}")
    print(f"{what}: {found}")


if __name__ == "__main__":
    main()
