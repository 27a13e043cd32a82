"""A budget for each file: how often a request is made again, and how long a storage may be silent."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

from attrs import define

from kmexport.storage.faults import UnexpectedResponseError, is_transient
from kmexport.storage.limits import SILENT_FOR

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, Retrying

__all__ = ["TRIES", "RetryBudget", "azure_retries", "manifest_budget", "tries_of_botocore", "tries_within"]

logger: logging.Logger = logging.getLogger("kmexport")

TRIES = 10  # of a file, whatever libraries below try by themselves
REFUND_BYTES = 8 << 20  # of a file give one try back, so that a huge one may break off more often

_TRIES_OF_A_MANIFEST = 6  # about five seconds: a wrong address has to show soon
_FIRST_WAIT = 0.2  # seconds at most; each further wait is twice as long
_LONGEST_WAIT = 5.0
_SHARE = 4  # one connection may be silent for this part of the time, so that another one can be tried


@define
class RetryBudget:
    """The tries and the seconds without a byte that are left to one file. Each failed try is logged."""

    name: str
    tries: int = TRIES
    silent_for: float = SILENT_FOR
    cost: int = 1  # of an error: the tries that libraries below have made before they raised it
    failures: int = 0
    last_error: BaseException | None = None
    _heard_at: float = 0.0
    _bytes: int = 0
    _waiting_until: float = 0.0

    @property
    def request_silent_for(self) -> float:
        """The seconds after which a connection that says nothing is given up."""
        return self.silent_for / _SHARE

    @property
    def is_spent(self) -> bool:
        return self.failures >= self.tries

    def heard(self, count: int) -> None:
        """Note that bytes of the file have come, and how many."""
        self._heard_at = time.monotonic()
        self._bytes += count
        while self._bytes >= REFUND_BYTES:
            self._bytes -= REFUND_BYTES
            self.failures = max(0, self.failures - 1)

    def retrying(self) -> Retrying:
        """Go round again after an error that may pass, later each time."""
        from tenacity import Retrying  # noqa: PLC0415  # it takes longer to load than a local export needs

        return Retrying(**self._policy())

    def retrying_async(self) -> AsyncRetrying:
        """Go round again in a coroutine."""
        from tenacity import AsyncRetrying  # noqa: PLC0415

        return AsyncRetrying(**self._policy())

    def _policy(self) -> dict[str, Any]:
        return {"retry": self._goes_on, "wait": self._wait, "before_sleep": self._warn, "reraise": True}

    def _goes_on(self, state: Any) -> bool:
        error = state.outcome.exception()
        if error is None or not is_transient(error):
            return False
        now = time.monotonic()
        # Requests for several parts of a file that fail together are one failure.
        if state.attempt_number > 1 or now >= self._waiting_until:
            self.failures += 1 if isinstance(error, UnexpectedResponseError) else self.cost
        self.last_error = error
        return not self.is_spent and now - max(state.start_time, self._heard_at) < self.silent_for

    def _wait(self, _state: Any) -> float:
        """Wait for a random time, so that many readers spread out."""
        longest = min(_FIRST_WAIT * 2 ** max(0, self.failures - 1), _LONGEST_WAIT)
        seconds = random.uniform(longest / 2, longest)  # noqa: S311  # no secret
        self._waiting_until = time.monotonic() + seconds
        return seconds

    def _warn(self, state: Any) -> None:
        logger.warning(
            "%s: try %d of %d failed (%s), the next one in %.1f seconds",
            self.name,
            self.failures,
            self.tries,
            type(state.outcome.exception()).__name__,
            state.next_action.sleep,
        )


def manifest_budget(name: str) -> RetryBudget:
    """Make the budget of a manifest or a listing."""
    return RetryBudget(name, _TRIES_OF_A_MANIFEST)


def tries_within(fs: Any) -> int:
    """Count how often a filesystem makes a request by itself before it raises: s3fs and gcsfs say so."""
    tries: int = max([1, getattr(fs, "retries", 1), *(1 + policy.total_retries for policy in azure_retries(fs))])
    config = getattr(fs, "config_kwargs", None)
    return tries if config is None else tries * tries_of_botocore(config.get("retries") or {})


def azure_retries(fs: Any) -> list[Any]:
    """List what makes requests again in Azure's own client; nothing in another filesystem."""
    client = getattr(fs, "__dict__", {}).get("service_client")
    pipelines = [getattr(one, "_pipeline", None) for one in (client if isinstance(client, list) else [client])]
    policies = [policy for pipeline in pipelines for policy in getattr(pipeline, "_impl_policies", ())]
    return [policy for policy in policies if hasattr(policy, "total_retries")]


def tries_of_botocore(settings: dict[str, Any]) -> int:
    """Count the tries for one request under botocore's setting `retries`.

    >>> settings = {}, {"max_attempts": 2}, {"total_max_attempts": 1}
    >>> [tries_of_botocore(one) for one in settings]
    [5, 3, 1]
    """
    if "total_max_attempts" in settings:
        return max(1, int(settings["total_max_attempts"]))
    if "max_attempts" in settings:
        return 1 + max(0, int(settings["max_attempts"]))
    return 3 if settings.get("mode") in ("standard", "adaptive") else 5
