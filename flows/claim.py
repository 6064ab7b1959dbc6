"""The claim on a data set's refresh: of those that start at once, anywhere, one runs and the others learn who."""

from __future__ import annotations

from storage.leases import Lease, LeaseRecord, live_leases
from storage.registers import Record, change_register
from storage.root import Root


def claim_refresh(root: Root, lease: Lease, dataset: str) -> LeaseRecord | None:
    """Claim the refresh for the holder of a live "run" lease; returns the lease of another that holds it already.

    A register in the root names the lease that holds the claim, and a conditional create decides between two that
    claim at once. The claim ends with its lease: one whose holder was killed is taken over, on its own machine at
    once, elsewhere after the lease's time to live. Raises what the store raises.
    """
    holder: LeaseRecord | None = None

    def take(standing: Record) -> Record:
        nonlocal holder
        # Looked up at each turn: who has just won had its lease before it claimed.
        live = {other.id: other for other in live_leases(root, "run")}
        holder = live.get(str(standing.get("lease")))
        return standing if holder else {"lease": lease.record.id}

    change_register(root, f"state/refresh/{dataset}", take)
    return holder if holder and holder.id != lease.record.id else None
