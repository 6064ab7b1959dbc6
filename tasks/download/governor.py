"""The governor: which source is fetched when, so that no host is asked for more than it bears.

What a host has been asked and how it answered lies in the root, so that all who fetch into it share one budget.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from storage.registers import change_register, read_register
from storage.root import Root
from tasks.batch import Budget, Outcome, Unit, no_budget
from tasks.download.config import DownloadConfig
from tasks.download.failures import BLOCKING, UNREACHABLE
from tasks.download.hosts import (
    ASKED_SECONDS,
    BLOCKED_SECONDS,
    SILENT_SECONDS,
    HostState,
    Site,
    claim,
    close,
    from_record,
    register_of,
    reopen,
    room_at,
    site_of,
    to_record,
)
from tasks.records import Dropped

_SILENT_IN_ROW = 5  # sources in a row that a host did not answer, before it is left alone
_CLAIM_SHARE = 10  # a claim takes a tenth of the hour's budget, so that a store is asked seldom and two workers share
_READ_AGAIN_SECONDS = 30.0
_log = logging.getLogger(__name__)


@dataclass
class _Host:
    """One host within this run. `claimed`: sources that may be asked without another look at the root."""

    name: str
    site: Site
    state: HostState
    waiting: deque[int] = field(default_factory=deque)
    running: int = 0
    claimed: int = 0
    silent: int = 0
    next_start: float = 0.0
    read_at: float = 0.0
    held: str = ""


class Governor:
    """An intake (see tasks.batch) over hosts. `blocked`: hosts that are not to be asked at all, and why.

    A host gets `per_host_connections` at once and `per_host_hour` within an hour, with a jittered pause between two. A
    429, a bot check or a Retry-After opens its circuit: the source that met it and those behind it stay pending, and
    once the time is over a single one is tried first. A pause of up to `max_wait_seconds` is waited for.
    `come_back`: when the first of the hosts that were left may be asked again (seconds since the epoch), 0 for none.
    `refusals`: why sources are left whose host, unlike a budget, said no.
    """

    def __init__(
        self,
        root: Root,
        config: DownloadConfig,
        budget: Budget = no_budget,
        blocked: Mapping[str, str] | None = None,
    ) -> None:
        self.come_back = 0.0
        self.refusals: set[str] = set()
        self._root, self._config, self._budget, self._blocked = root, config, budget, blocked or {}
        self._hosts: dict[str, _Host] = {}
        self._units: Sequence[Unit] = ()
        self._random = random.Random()  # spreads workers apart; nothing that is kept rests on it
        self.stopped = budget(None)

    def offer(self, units: Sequence[Unit]) -> None:
        self._units = units
        for index, unit in enumerate(units):
            self._host(unit.host).waiting.append(index)

    def take(self) -> int | float | None:
        soonest: float | None = None
        for host in list(self._hosts.values()):
            if self.stopped or host.held:
                host.waiting.clear()
            if not host.waiting:
                continue
            pause = self._pause(host)
            if host.held:
                host.waiting.clear()
            elif pause == 0:
                return self._start(host)
            else:
                soonest = pause if soonest is None else min(soonest, pause)
        return soonest

    def judge(self, index: int, outcome: Outcome, dropped: Dropped | None) -> Outcome | None:
        host = self._host(self._units[index].host)
        host.running -= 1
        if outcome.pending:
            self.stopped = self.stopped or outcome.pending
        elif dropped and host.name and (dropped.reason in BLOCKING or dropped.retry_after):
            return self._refused(host, index, outcome, dropped)
        elif dropped and host.name and dropped.reason in UNREACHABLE:
            host.silent += 1
            if host.silent >= _SILENT_IN_ROW:
                self._close(host, f"{host.silent} sources in a row: {dropped.reason}", SILENT_SECONDS, 0.0)
        elif outcome.cached:
            host.claimed += 1  # found in storage: nobody was asked
        else:
            host.silent = 0
            # An answer to what was asked before the host closed says nothing of now.
            if host.state.streak and host.state.closed_until <= time.time():
                self._change(host, reopen)
        self.stopped = self.stopped or self._budget(None if outcome.failure else outcome)
        return outcome

    def left(self, unit: Unit) -> str:
        return self.stopped or self._host(unit.host).held

    def _start(self, host: _Host) -> int:
        host.running += 1
        host.claimed -= 1
        host.next_start = time.monotonic() + host.site.pause_seconds * self._random.uniform(0.5, 1.5)
        return host.waiting.popleft()

    def _pause(self, host: _Host) -> float:
        """Seconds until the host may be asked, 0 for now; sets `held` where that is too long to wait for."""
        if not host.name:
            return 0.0
        now = time.time()
        if now - host.read_at > _READ_AGAIN_SECONDS:  # another worker may have been refused meanwhile
            host.state, host.read_at = from_record(read_register(self._root, register_of(host.name))), now
        if host.state.closed_until > now:
            pause = self._hold_or_wait(host, host.state.reason, host.state.closed_until)
            self.refusals |= {host.held} - {""}
            return pause
        if host.running >= (1 if host.state.streak else host.site.connections):
            return float("inf")  # the end of one wakes whoever waits
        if host.claimed <= 0 and (per_hour := host.site.per_hour):
            self._claim(host, now, per_hour)
            if host.claimed <= 0 and host.running:
                return float("inf")  # one that is found in storage gives its place back
            if host.claimed <= 0:
                told = f"the {per_hour} sources of this hour are spent (download.per_host_hour)"
                return self._hold_or_wait(host, told, room_at(host.state, now))
        return max(0.0, host.next_start - time.monotonic())

    def _hold_or_wait(self, host: _Host, reason: str, until: float) -> float:
        seconds = until - time.time()
        if seconds <= self._config.max_wait_seconds:
            return max(0.01, seconds)
        host.held = f"{host.name}: {reason}; run again after {_clock(until)}"
        self.come_back = min(self.come_back or until, until)
        _log.warning("download: %s; its sources are left for later", host.held)
        return seconds

    def _claim(self, host: _Host, now: float, per_hour: int) -> None:
        wanted = min(len(host.waiting), max(1, per_hour // _CLAIM_SHARE))
        granted = 0

        def change(state: HostState) -> HostState:
            nonlocal granted
            claimed, granted = claim(state, now, wanted, per_hour)
            return claimed

        self._change(host, change)
        host.claimed = granted

    def _refused(self, host: _Host, index: int, outcome: Outcome, dropped: Dropped) -> Outcome | None:
        """The host wants to be left alone: that is no fault of the source, which stays as it was."""
        base = ASKED_SECONDS if dropped.retry_after else BLOCKED_SECONDS
        self._close(host, str(dropped), base, dropped.retry_after)
        self._pause(host)
        if not host.held:
            host.waiting.append(index)  # last: a source that always reads as a refusal must not block the others
            return None
        return replace(outcome, failure=None, pending=host.held)

    def _close(self, host: _Host, reason: str, base_seconds: float, asked_seconds: float) -> None:
        now, draw = time.time(), self._random.random()
        if host.state.closed_until <= now:  # several that were under way say the same: it counts once
            self._change(host, lambda state: close(state, now, reason, base_seconds, asked_seconds, draw))
            _log.warning("download: %s is left alone until %s: %s", host.name, _clock(host.state.closed_until), reason)

    def _change(self, host: _Host, change: Callable[[HostState], HostState]) -> None:
        record = change_register(
            self._root, register_of(host.name), lambda standing: to_record(change(from_record(standing)), host.name)
        )
        host.state, host.read_at = from_record(record), time.time()

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            host = _Host(name, site_of(name, self._config), HostState())
            if name in self._blocked:
                host.held = f"{name}: {self._blocked[name]}"
                self.refusals.add(host.held)
            self._hosts[name] = host
        return self._hosts[name]


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
