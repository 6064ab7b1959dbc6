"""Start the processes of a training run, and see that none outlives us."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

import psutil

from tasks.train.config import TrainConfig
from tasks.train.job import JOB_VARIABLE, Job

_LEAVE_SECONDS = 10.0
_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def started(job: Job, logs: str) -> Iterator[subprocess.Popen[str]]:
    """torchrun or Ray with the ranks; on leaving, none of them is left here. `logs`: a folder for its files."""
    launchers = {
        "torchrun": ["tasks.train.agent", *_torchrun_arguments(job, logs)],
        "ray": ["tasks.train.on_ray", logs],
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *launchers[job.config.launcher]],
        stdin=subprocess.PIPE,  # never written to: its end tells all processes that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(job, os.environ),
        start_new_session=True,  # Ctrl-C reaches us alone, and we end the ranks in order
    )
    try:
        yield process
    finally:
        _end_session(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _torchrun_arguments(job: Job, logs: str) -> list[str]:
    config = job.config
    arguments = [f"--nnodes={config.machines}", f"--nproc-per-node={config.ranks}", "--rdzv-backend=c10d"]
    # One machine: a free port of the loopback, since a host's own name often does not resolve in containers. Many:
    # they meet by the key, so that machines with other settings never train together.
    many = config.machines > 1
    arguments += [f"--rdzv-endpoint={config.rendezvous if many else f'{_LOOPBACK}:0'}"]
    arguments += ["--rdzv-conf=join_timeout=600,read_timeout=600"]  # s; machines may be started by hand
    arguments += [f"--rdzv-id={job.document.key[:16] if many else job.attempt}"]
    arguments += [f"--local-addr={_local_address(config)}", f"--log-dir={logs}"]
    # Restarts are ours: torchrun keeps the survivors' agent and store, and one restart in five hung.
    arguments += ["--max-restarts=0", f"--shutdown-timeout={_LEAVE_SECONDS:.0f}", "-m", "tasks.train.worker"]
    return arguments


# Threads that wait for one another spin for a moment only and then sleep, as libgomp does by itself where it has more
# threads than cores. Beside three busy processes on two cores that gives 241 images/s of `small` at 96 px instead of
# 158, on idle ones 629 instead of 630 (medians of 3); not spinning at all, 243 and 607.
_PATIENT = {"GOMP_SPINCOUNT": "1000"}


def _environment(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    changes = {
        JOB_VARIABLE: job.to_json(),
        "OMP_NUM_THREADS": str(job.threads),
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only so
    }
    if job.config.machines > 1 and "GLOO_SOCKET_IFNAME" not in inherited:
        # Gloo takes the address that the host's name resolves to, which may be one of the loopback.
        changes["GLOO_SOCKET_IFNAME"] = _interface(_local_address(job.config))
    return _PATIENT | {**inherited, **changes}


def _local_address(config: TrainConfig) -> str:
    """This machine's address as the others see it: TRITRACK_LOCAL_ADDRESS, or that towards the rendezvous."""
    if config.machines == 1:
        return _LOOPBACK
    if address := os.environ.get("TRITRACK_LOCAL_ADDRESS"):
        return address
    host, _, port = config.rendezvous.rpartition(":")
    try:
        family, kind, _, _, there = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as towards:
            towards.connect(there)  # of datagrams: chooses the route and sends nothing
            return str(towards.getsockname()[0])
    except OSError as error:
        raise ValueError(f"train.rendezvous: {config.rendezvous} cannot be reached ({error})") from error


def _interface(address: str) -> str:
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.split("%")[0] == address for one in addresses):
            return name
    raise ValueError(f"TRITRACK_LOCAL_ADDRESS: no network interface of this machine has the address {address}")


def _end_session(process: subprocess.Popen[str]) -> None:
    """SIGTERM to the agent, which hands it on (ranks write a checkpoint); SIGKILL to who is left after 10 s."""
    tree = [one for one in psutil.process_iter() if _session(one.pid) == process.pid]  # an agent's orphans too
    if process.poll() is None:
        process.terminate()
    _, left = psutil.wait_procs(tree, timeout=_LEAVE_SECONDS if process.returncode is None else 0)
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(left, timeout=_LEAVE_SECONDS)
    process.wait()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:  # it is gone, or of a kernel that tells only about one's own
        return 0
