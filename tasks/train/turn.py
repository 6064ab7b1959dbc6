"""Taking turns: of all live attempts at one train unit, one trains and the others wait for its end.

Each attempt holds a lease that names its unit. An attempt trains once it has said so in its lease (`trains`) and
then still sees nobody older. It says so only where nobody else trains and nobody older is there. Two can never
both get through: if the older one's lease was not there when the younger looked for the last time, then the
younger had said that it trains before the older one first looked, and that one waits.

Attempts of several machines that train together name the same `meeting` in their leases. They do not wait for each
other, and once one of them trains none of them waits for anybody.
"""

from __future__ import annotations

import logging
import time

from storage.leases import Lease, LeaseRecord, live_leases
from storage.manifests import Manifest, read_manifest
from storage.root import Root
from tasks.records import Progress

_POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


def wait_for_turn(root: Root, lease: Lease, key: str, progress: Progress) -> Manifest | None:
    """Wait until this attempt may train; returns the unit where another attempt has committed it meanwhile.

    `lease` is the attempt's, its facts name the `key`. The wait is in the caller's thread, where it can be
    interrupted. A killed holder on this machine is noticed at once, one elsewhere after its time to live.
    """
    told = ""
    while True:
        ahead = _ahead(root, lease, key)
        if not ahead:
            lease.note(trains=True)
            ahead = [other for other in _ahead(root, lease, key) if other.rank < lease.record.rank]
            if ahead:
                lease.note(trains=False)
        committed = read_manifest(root, "train", key)
        if committed is not None or not ahead:
            return committed
        note = f"waits for another attempt at this training ({ahead[0].holder})"
        progress(0, 0, note)
        if ahead[0].id != told:
            told = ahead[0].id
            logger.info("train %s %s", key[:16], note)
        time.sleep(_POLL_SECONDS)


def _ahead(root: Root, lease: Lease, key: str) -> list[LeaseRecord]:
    """Live attempts at the unit that train already or are older, the oldest first."""
    others = [
        other for other in live_leases(root, "train") if other.id != lease.record.id and other.facts.get("key") == key
    ]
    if meeting := lease.record.facts.get("meeting"):
        fellows = [other for other in others if other.facts.get("meeting") == meeting]
        if any(fellow.facts.get("trains") for fellow in fellows):
            return []
        others = [other for other in others if other not in fellows]
    return [other for other in others if other.facts.get("trains") or other.rank < lease.record.rank]
