"""What the parent of a training run hears from its ranks."""

from __future__ import annotations

import logging
import signal
from collections import deque
from dataclasses import dataclass, field

from tasks.records import Dropped, Progress
from tasks.train.job import EXIT_LOST, parse_line

_LAST_LINES = 25

logger = logging.getLogger(__name__)


@dataclass
class Heard:
    """What the ranks of one start said: progress and logs are passed on, the end is kept.

    `codes`: exit codes of the ranks that failed, negative for those that a signal ended.
    """

    progress: Progress
    dropped: Dropped | None = None
    failure: str = ""
    codes: list[int] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    @property
    def last_words(self) -> str:
        return self.failure or "\n".join(self.lines)

    def take(self, line: str) -> None:
        """One line of the ranks' output."""
        record = parse_line(line)
        match record:
            case {"event": "progress", "step": int(step), "steps": int(steps), "loss": float(loss)}:
                self.progress(step, steps, f"loss {loss:.3f}")
            case {"event": "log", "level": int(level), "name": str(name), "message": str(message)}:
                self.lines.append(message)
                logging.getLogger(name).log(level, "%s", message)
            case {"event": "dropped", "kind": "permanent", "reason": str(reason), "words": str(words)}:
                self.dropped = Dropped("permanent", reason, words)
            case {"event": "stopped" | "failed", "words": str(words)}:
                self.failure = self.failure or words.strip()  # the first rank's; the others fail because it did
            case {"event": "lost", "words": str(words)}:
                self.lines.append(words.strip())
            case {"event": "ended", "codes": list(codes)}:
                self.codes = [code for code in codes if isinstance(code, int)]
            case _:
                self.lines.append(line.rstrip())
                logger.debug("%s", line.rstrip())

    def what_died(self, code: int) -> str:
        """In words, whom a signal or the network ended; empty where a rank ended by itself. `code`: torchrun's own.

        An error of one rank takes its fellows with it, so one that ended by itself is the cause.
        """
        if code < 0:
            return f"the agent of the ranks was ended by {_signal_name(code)}"
        if self.failure or any(rank >= 0 and rank != EXIT_LOST for rank in self.codes):
            return ""
        killed = [rank for rank in self.codes if rank < 0]
        if killed:
            return f"a rank was ended by {_signal_name(killed[0])}"
        return "another rank was lost" if self.codes else ""


def _signal_name(code: int) -> str:
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name} (out of memory?)" if name == "SIGKILL" else name
