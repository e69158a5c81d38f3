"""This project's own sweepers and launchers, which Hydra must be told of in every process."""

from __future__ import annotations

from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

from runner.sweeps.launchers.base import JobLauncher
from runner.sweeps.launchers.joblib import JoblibLauncher
from runner.sweeps.launchers.local import LocalLauncher
from runner.sweeps.launchers.ray import RayLauncher
from runner.sweeps.launchers.slurm import SlurmLauncher
from runner.sweeps.study import StudySweeper
from runner.sweeps.sweeper import JobSweeper

_LAUNCHERS: tuple[type[JobLauncher], ...] = (
    JoblibLauncher,
    LocalLauncher,
    SlurmLauncher,
    RayLauncher,
)


def register_plugins() -> None:
    """Tell Hydra of them; safe to call twice."""
    plugins: tuple[type[Plugin], ...] = (JobSweeper, StudySweeper, *_LAUNCHERS)
    for plugin in plugins:
        Plugins.instance().register(plugin)


def check_launcher(config: DictConfig) -> None:
    """Let a launcher of this project's refuse what it can't run, before anything starts.

    Parameters
    ----------
    config
        The sweep's, Hydra's part included.

    Raises
    ------
    RequestError
        As `JobLauncher.check` does.
    """
    for launcher in _LAUNCHERS:
        if config.hydra.launcher._target_ == f"{launcher.__module__}.{launcher.__qualname__}":
            launcher.check(config)
