"""A SLURM cluster of a few nodes in this machine, as its own user, for as long as a test needs it.

It touches nothing of the system's own SLURM: configuration, keys, logs and state are in a folder.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from processes import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
_CONF = """\
ClusterName=runner
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=3
OverTimeLimit=0
MinJobAge=300
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=600 State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
"""


def is_installed() -> bool:
    return all(_find(name) for name in PROGRAMS)


@contextlib.contextmanager
def slurm_cluster(
    folder: Path, n_nodes: int = 2, cpus: int = 1, inside: Sequence[str] = ()
) -> Iterator[dict[str, str]]:
    """Run a cluster for the length of the block; yields what its commands need of the environment.

    Parameters
    ----------
    folder
        Holds all its files; a short path, since there are sockets among them.
    cpus
        Of each node, whatever the machine has.
    inside
        Words that come before the command of each node's daemon.
    """
    for name in ("state", *(f"spool-n{node}" for node in range(n_nodes))):
        (folder / name).mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    ports = _free_ports(n_nodes + 1)
    host = socket.gethostname().partition(".")[0]
    nodes = "\n".join(
        f"NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        "RealMemory=4000 State=UNKNOWN"
        for node, port in enumerate(ports[1:])
    )
    conf = folder / "slurm.conf"
    conf.write_text(
        _CONF.format(host=host, port=ports[0], user=getpass.getuser(), folder=folder, nodes=nodes)
    )
    environment = {"SLURM_CONF": str(conf)}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in _MUNGE_FILES.items()]
    commands = [
        [_find("munged"), "--foreground", "--force", *munge],
        [_find("slurmctld"), "-D", "-c"],
        *([*inside, _find("slurmd"), "-D", "-c", "-N", f"n{node}"] for node in range(n_nodes)),
    ]
    daemons = []
    try:
        for command in commands:
            with (folder / f"daemon-{len(daemons)}.out").open("w") as out:
                daemons.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                    )
                )
            if len(daemons) == 1:
                wait_until((folder / "munge.socket").exists, "munged's start", 20)
        wait_until(lambda: _idle(environment) == n_nodes, "the start of the nodes", 30)
        yield environment
    finally:
        _run(["scancel", "--user", getpass.getuser()], environment)
        deadline = time.monotonic() + 15
        while _run(["squeue", "--noheader"], environment) and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


_MUNGE_FILES = {
    "key-file": "key",
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


def _find(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin") or ""


def _free_ports(n_ports: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n_ports)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _idle(environment: dict[str, str]) -> int:
    said = _run(["sinfo", "--noheader", "--Node", "--partition=main", "--format=%t"], environment)
    return said.split().count("idle")


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    return done.stdout
