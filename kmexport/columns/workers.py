"""Revisions read as columns by several processes: what they give comes out in the order of the revisions.

    revisions ──▶ groups ──▶ worker ─┐ messages of group 3: kept until it is their turn
                         ──▶ worker ─┴▶ messages of group 2: batches, rejected lines, log records, how far it has come

A worker reads one group with `to_batches` itself. Its messages go through a pipe, which holds it up when too much of
what is not wanted yet lies here. When the reader is dropped, workers are ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Self

import pyarrow as pa
from attrs import define

from kmexport.columns.worker import End, Job, Message, RejectedLine, work
from kmexport.revisions.manifest import Revision
from kmexport.revisions.reader import ReadOptions
from kmexport.storage.open_files import progress_bar

__all__ = ["in_processes"]

logger: logging.Logger = logging.getLogger("kmexport")

_LEAST_BYTES: Final = 1 << 20  # of a group: a smaller one costs more to hand out than it saves
_MOST_BYTES: Final = 32 << 20
_GROUPS_EACH: Final = 4  # for a worker, so that none waits long for the last one
_AHEAD_BYTES: Final = 32 << 20  # of the batches of a group whose turn has not come


def in_processes(
    bucket: Any,
    revisions: Callable[[], list[Revision]],
    processes: int,
    reading: ReadOptions,
    arguments: dict[str, Any],
) -> Iterator[pa.RecordBatch]:
    """The batches of `bucket.to_batches(revisions=…, **arguments)`, made by so many processes.

    Raises ValueError for less than one.
    """
    if processes < 1:
        msg = f"processes is at least 1, not {processes}"
        raise ValueError(msg)
    if reading.selection is not None:
        selection = reading.selection
        arguments = arguments | {"kinds": selection.kinds, "names": selection.names, "people": selection.people}
    return _batches(bucket, revisions, processes, reading, arguments)


def _batches(
    bucket: Any,
    revisions: Callable[[], list[Revision]],
    processes: int,
    reading: ReadOptions,
    arguments: dict[str, Any],
) -> Iterator[pa.RecordBatch]:
    wanted = revisions()
    groups = _groups(wanted, processes)
    if len(groups) < 2:
        yield from bucket.to_batches(
            revisions=wanted, on_error=reading.on_error, callback=reading.callback, counts=reading.counts, **arguments
        )
        return
    job = Job(bucket, arguments, "call" if callable(reading.on_error) else reading.on_error, logger.getEffectiveLevel())
    sizes = [revision.size for revision in wanted if revision.size is not None]
    with progress_bar(reading.callback) as callback, _Crew(job, groups, min(processes, len(groups))) as crew:
        if callback is not None and len(sizes) == len(wanted):
            callback.set_size(sum(sizes))
        for message in crew.messages():
            if reading.counts is not None:
                reading.counts.add(message.counts)
            if callback is not None and message.moved:
                callback.relative_update(message.moved)
            yield from _act(message.content, reading)


def _act(content: object, reading: ReadOptions) -> Iterator[pa.RecordBatch]:
    if isinstance(content, bytes):
        with pa.ipc.open_stream(pa.py_buffer(content)) as stream:
            yield from stream
    elif isinstance(content, RejectedLine):
        if callable(reading.on_error):
            reading.on_error(content.error)
    elif isinstance(content, logging.LogRecord):
        logging.getLogger(content.name).handle(content)
    elif isinstance(content, Exception):
        raise content


def _groups(revisions: Sequence[Revision], processes: int) -> list[list[Revision]]:
    """Neighbours together, in groups of about equal bytes."""
    sizes = [_LEAST_BYTES if revision.size is None else revision.size for revision in revisions]
    enough = min(max(sum(sizes) // (processes * _GROUPS_EACH), _LEAST_BYTES), _MOST_BYTES)
    groups: list[list[Revision]] = []
    held = enough
    for revision, size in zip(revisions, sizes, strict=True):
        if held + size // 2 >= enough:
            groups.append([])
            held = 0
        groups[-1].append(revision)
        held += size
    return groups


# The workers.


@define(eq=False)
class _Worker:
    process: Any
    connection: Connection
    group: int | None = None

    def receive(self) -> Message:
        try:
            message: Message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(1)
            msg = (
                f"a worker process ended by itself (exit code {self.process.exitcode}). In a script, what starts "
                'processes has to stand under `if __name__ == "__main__":`, for each process imports the script'
            )
            raise RuntimeError(msg) from None
        return message


class _Crew:
    """The workers, and what they have sent. A context manager: at its end none of them is left."""

    def __init__(self, job: Job, groups: list[list[Revision]], processes: int) -> None:
        self._groups = groups
        self._kept: list[deque[Message]] = [deque() for _ in groups]
        self._kept_bytes = [0] * len(groups)
        self._next = 0  # the group that is handed out next
        self._job = job
        self._processes = processes
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        context = get_context("spawn")
        for _ in range(self._processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, self._job), daemon=True, name="kmexport reader")
            try:
                process.start()
            except BaseException:
                self.__exit__()
                raise
            theirs.close()
            self._workers.append(_Worker(process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()

    def messages(self) -> Iterator[Message]:
        """All of the first group, then all of the second …"""
        for current, kept in enumerate(self._kept):
            is_over = False
            while not is_over:
                self._hand_out(current)
                while not kept:
                    self._receive(current)
                message = kept.popleft()
                self._kept_bytes[current] -= _size(message)
                is_over = isinstance(message.content, End)
                yield message

    def _hand_out(self, current: int) -> None:
        for worker in self._workers:
            is_near = self._next <= current + self._processes
            if worker.group is None and is_near and self._next < len(self._groups):
                worker.group = self._next
                # One that has ended is told of when it is listened to.
                with suppress(BrokenPipeError):
                    worker.connection.send(self._groups[self._next])
                self._next += 1

    def _receive(self, current: int) -> None:
        listened_to = {
            worker.connection: (worker, worker.group)
            for worker in self._workers
            if worker.group is not None and (worker.group == current or self._kept_bytes[worker.group] < _AHEAD_BYTES)
        }
        for connection in wait(list(listened_to)):
            worker, group = listened_to[connection]  # type: ignore[index]
            message = worker.receive()
            self._kept[group].append(message)
            self._kept_bytes[group] += _size(message)
            if isinstance(message.content, End):
                worker.group = None
        self._hand_out(current)


def _size(message: Message) -> int:
    return len(message.content) if isinstance(message.content, bytes) else 1_000
