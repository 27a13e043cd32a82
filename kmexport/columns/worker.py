"""The process that reads revisions as columns for another one: what goes through the pipe between them."""

from __future__ import annotations

import copy
import logging
import pickle
import signal
from contextlib import suppress
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
from attrs import define, evolve, field
from fsspec.callbacks import Callback

from kmexport.errors import MalformedRecordError
from kmexport.parsing.counts import LineCounts
from kmexport.revisions.manifest import Revision

__all__ = ["End", "Job", "Message", "RejectedLine", "work"]

logger: logging.Logger = logging.getLogger("kmexport")


@define
class Job:
    """What a worker is told at its start. It holds the bucket, so its credentials: never show it."""

    bucket: Any = field(repr=False)
    arguments: dict[str, Any]
    on_error: str
    level: int


@define
class RejectedLine:
    error: MalformedRecordError


class End:
    """Nothing more comes of a group."""


@define
class Message:
    content: bytes | RejectedLine | End | logging.LogRecord | Exception  # bytes: a batch
    counts: LineCounts  # of the lines that were counted since the last one
    moved: int  # bytes that were read since


def work(connection: Connection, job: Job) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its workers
    # Where the parent has gone, nobody wants the rest.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            _read_group(connection.recv(), _Outbox(connection), job)


def _read_group(revisions: list[Revision], outbox: _Outbox, job: Job) -> None:
    on_error: Any = outbox.reject if job.on_error == "call" else job.on_error
    handler = _ToParent(outbox)
    logger.setLevel(job.level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        for batch in job.bucket.to_batches(
            revisions=revisions, on_error=on_error, callback=outbox.progress, counts=outbox.counts, **job.arguments
        ):
            outbox.send(_as_bytes(batch))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent raises it
        outbox.send(_picklable(error))
    finally:
        logger.removeHandler(handler)
    outbox.send(End())


class _Outbox:
    """Sends messages to the parent, each with what was counted since the last."""

    def __init__(self, connection: Connection) -> None:
        self.counts = LineCounts()
        self.progress = Callback()
        self._connection = connection
        self._told = LineCounts()
        self._told_bytes = 0

    def send(self, content: Any) -> None:
        counts, moved = evolve(self.counts), self.progress.value
        self._connection.send(Message(content, counts.since(self._told), moved - self._told_bytes))
        self._told, self._told_bytes = counts, moved

    def reject(self, error: MalformedRecordError) -> None:
        self.send(RejectedLine(error))


class _ToParent(QueueHandler):
    """What is logged in a worker is logged by the parent."""

    def __init__(self, outbox: _Outbox) -> None:
        super().__init__(outbox)  # type: ignore[arg-type]  # only enqueue() uses it
        self._outbox = outbox

    def enqueue(self, record: logging.LogRecord) -> None:
        self._outbox.send(record)


def _as_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _picklable(error: Exception) -> Exception:
    try:
        pickle.dumps(error)
        copy.copy(error)  # it is made again in the same way when it is unpickled
    except Exception:  # noqa: BLE001  # what another library's error does there can't be known
        return RuntimeError(f"{type(error).__name__} in a worker process")
    return error
