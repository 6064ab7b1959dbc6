"""Stages as runs of their own: what `pipeline` and `refresh` do where they were started from a deployment.

Each stage's run waits in its own work pool for a worker, can be cancelled, and can be retried by itself. What it
returns crosses by the store (`state/runs/<flow run id>.json`), since Prefect keeps no results here.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from flows.plan import StageFailed
from flows.this_run import this_flow_run
from storage.layout import summary_path
from storage.root import Root

Summary = dict[str, Any]
"""What a stage flow returns: stage, dataset, version, committed, cached, failed, seconds, counts, note, pending."""

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
_log = logging.getLogger(__name__)


def is_deployed() -> bool:
    """Whether this process runs a deployment's flow run, and so has workers beside it."""
    run = this_flow_run()
    return bool(run and run.deployment_id)


@contextmanager
def stages_apart(root: Root) -> Iterator[Children | None]:
    """Who starts stages as runs of their own, in a deployment's flow run; None elsewhere."""
    if is_deployed():
        with Children(root) as children:
            yield children
    else:
        yield None


def keep_summary(root: Root, summary: Summary) -> Summary:
    """The summary that a stage returns; left in the store for the flow run that started this one, where one did."""
    run = this_flow_run()
    if run and run.deployment_id and run.parent_task_run_id:
        root.write_bytes(summary_path(str(run.id)), json.dumps(summary).encode())
    return summary


@dataclass
class Children:
    """The stage runs of one flow run, started as deployments; `with` cancels those under way where the block fails.

    A cancelled, killed or failed parent must not leave a stage at work that nobody waits for.
    """

    root: Root
    _running: dict[str, FlowRun] = field(default_factory=dict)  # by stage

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with get_client(sync_client=True) as client:
            for run in self._running.values():
                _cancel(client, run)

    def run(self, stage: str, parameters: Mapping[str, Any]) -> Summary:
        """Start a stage and wait for its end; raises as these two do."""
        self.start(stage, parameters)
        return self.wait(stage)

    def start(self, stage: str, parameters: Mapping[str, Any]) -> None:
        """Start a stage's deployment, `<stage>/<stage>`. Raises StageFailed where it is not registered."""
        try:
            name = f"{stage} {parameters['dataset']}"
            run = run_deployment(f"{stage}/{stage}", parameters=dict(parameters), timeout=0, flow_run_name=name)
        except ObjectNotFound as error:
            raise StageFailed(f"{stage}: has no deployment on this server; run `tritrack deploy` again") from error
        assert isinstance(run, FlowRun), "a coroutine only where the caller is asynchronous"
        self._running[stage] = run
        _log.info("%s: started as flow run %s", stage, run.name)

    def has_ended(self, stage: str) -> bool:
        """Whether a stage that was started has come to its end."""
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(self._running[stage].id)
        self._running[stage] = run
        return run.state is not None and run.state.is_final()

    def wait(self, stage: str) -> Summary:
        """Wait for the end of a stage that was started; its summary.

        Raises StageFailed, naming its flow run, where it did not complete.
        """
        late = time.monotonic() + _PATIENCE_SECONDS
        while not self.has_ended(stage):
            time.sleep(_POLL_SECONDS)
            standing = self._running[stage]
            if time.monotonic() > late and standing.state is not None and standing.state.is_scheduled():
                late = float("inf")
                told = "%s: no worker has taken its flow run %s for a minute; start one with: tritrack worker %s"
                _log.warning(told, stage, standing.name, stage)
        run = self._running.pop(stage)
        assert run.state is not None, "an ended run has a state"
        if run.state.type != StateType.COMPLETED:
            words = (run.state.message or "").removeprefix("Flow run encountered an exception: ").splitlines()[:1]
            raise StageFailed(
                f"{stage}: its flow run {run.name} ended as {run.state.name}: {' '.join(words)}; mend the cause, retry "
                "that run or this one, and it goes on from what is committed"
            )
        path = summary_path(str(run.id))
        summary: Summary = json.loads(self.root.read_bytes(path))
        self.root.remove(path)
        return summary

    def is_running(self, stage: str) -> bool:
        """Whether a stage was started, and nobody has waited for it yet."""
        return stage in self._running


def _cancel(client: SyncPrefectClient, run: FlowRun) -> None:
    standing = client.read_flow_run(run.id)
    if standing.state is None or not standing.state.is_final():
        client.set_flow_run_state(run.id, Cancelling(message="the run that started it ended"))
        _log.warning("%s: cancelled with the run that started it", run.name)
