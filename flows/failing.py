"""How a stage fails; apart from the planner, so that the command line program can name it at no cost."""

from __future__ import annotations


class StageFailed(RuntimeError):
    """A stage whose kept share fell below its floor; the message is one line with the reasons."""
