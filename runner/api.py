"""The runner from Python and in notebooks: `compose` a config, `run` an experiment, `load` a model.

Nothing of the process is changed for longer than a call takes: the working directory, ``sys.argv``,
logging, standard output, signals and Hydra's state are afterwards what they were before.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra._internal.execution_policy import execution_whitelist
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from runner.app import check_request
from runner.clusters.connections import trust_named
from runner.command_line import CommandLine, parse_arguments
from runner.config.compose import CONFIG_NAME, compose_config, hydra_for
from runner.config.edits import overrides_for
from runner.config.trust import hydra_whitelist
from runner.errors import ExperimentError, RequestError
from runner.job import run_job
from runner.logs import kept_logging, terminal_handler
from runner.prediction.model import SavedModel, load_model
from runner.results.finished import Run
from runner.results.run_directory import RunDirectory
from runner.search.record import RecordWriteError
from runner.secrets import guard_output
from runner.sweeps.sweep import Sweep

logger = logging.getLogger(__name__)

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def compose(
    *overrides: str, config_name: str = CONFIG_NAME, config_dir: str | None = None
) -> DictConfig:
    """Compose a config, as the command line would.

    Parameters
    ----------
    overrides
        As on the command line, unquoted: ``"model=random_forest"``, ``"model.max_depth=3"``.
    config_name, config_dir
        As ``--config-name`` and ``--config-dir``.

    Returns
    -------
    DictConfig
        To look at, and to edit before it is `run`. Its ``hydra`` part only says what it was made
        of.

    Raises
    ------
    RequestError
        For an unknown group, option or key, or a value that can't be read.

    Examples
    --------
    >>> from runner import compose
    >>> config = compose("data=wine", "model=random_forest")
    >>> config.model.n_estimators
    200
    """
    request = _request(list(overrides), config_name, config_dir)
    config = compose_config(request.overrides, request.config_name, request.config_dir)
    made_of = {"overrides": request.overrides, "config_name": config_name, "config_dir": config_dir}
    with open_dict(config):
        del config["hydra"]
        config.hydra = made_of
    return config


def run(
    *what: str | DictConfig, config_name: str = CONFIG_NAME, config_dir: str | None = None
) -> Run:
    """Run an experiment, and return what came of it.

    It leaves the same run directory as the command line does, below the working directory.

    Parameters
    ----------
    what
        Overrides as on the command line, or a config from `compose`, edited or not, and overrides
        of it. An edit counts as an override: it pins the value, and is recorded.
    config_name, config_dir
        As for `compose`; a config brings its own.

    Raises
    ------
    RequestError
        When it can't be run as asked; nothing was written.
    ExperimentError
        When it failed while running; the run directory says so too, and ``__cause__`` is what was
        raised. A run that was interrupted goes on with ``runner resume``.

    Examples
    --------
    >>> from runner import run
    >>> result = run("data=wine", "model=logistic_regression", "search.n_iter=3")
    >>> result.test["accuracy"] > 0.9
    True
    """
    first, *rest = what or ("",)
    if isinstance(first, DictConfig):
        overrides, config_name, config_dir = _made_of(first)
        overrides += map(str, rest)
    else:
        overrides = list(map(str, what))
    request = _request(overrides, config_name, config_dir)
    trust_named(overrides)
    with _undisturbed() as root:
        with _silenced(root):
            checked = check_request(request)
        if isinstance(checked, Sweep):
            raise RequestError("hydra.mode", "sweeps are run from the command line, with -m")
        if not root.handlers:
            root.addHandler(terminal_handler())
        return _run(request)


def load(run: str | Path) -> SavedModel:
    """Load the winner of a run, ready to predict; no code from its files is run.

    Parameters
    ----------
    run
        A run's folder, that of a sweep's job, or a ``model/`` folder by itself.

    Returns
    -------
    SavedModel
        With ``predict(X)``, and for classifiers ``classes_`` and, where the model has it,
        ``predict_proba(X)``; X is a data frame as the training data was, or an array.

    Raises
    ------
    RequestError
        When there is no model, or one that is damaged or not to be trusted.
    """
    return load_model(run)


def _request(overrides: list[str], config_name: str, config_dir: str | None) -> CommandLine:
    folder = [] if config_dir is None else ["--config-dir", config_dir]
    request = parse_arguments(["--config-name", config_name, *folder, *overrides])
    if not request.runs_one_job:
        raise RequestError(None, "flags are for the command line; give overrides: 'model=mlp'")
    return request


def _made_of(config: DictConfig) -> tuple[list[str], str, str | None]:
    """What would compose this config: overrides, edits included, and where it comes from."""
    made_of = config.get("hydra")
    if made_of is None or "config_name" not in made_of:
        raise RequestError(None, "the config is none that compose() returned")
    name, folder = made_of.config_name, made_of.config_dir
    overrides = [str(text) for text in made_of.overrides]
    plain = [
        OmegaConf.to_container(each, resolve=False)
        for each in (config, compose(*overrides, config_name=name, config_dir=folder))
    ]
    edited, composed = ({**each, "hydra": None} for each in plain if isinstance(each, dict))
    return [*overrides, *overrides_for(edited, composed)], name, folder


def _run(request: CommandLine) -> Run:
    ended: list[RunDirectory | ExperimentError | RequestError] = []

    def job(composed: DictConfig) -> None:
        directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
        ended.append(_job(composed, directory))

    with hydra_for(request.config_dir), execution_whitelist(hydra_whitelist()):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        hydra.run(request.config_name, job, request.overrides, with_log_configuration=False)
    (outcome,) = ended
    if isinstance(outcome, RunDirectory):
        return Run.read(outcome)
    raise outcome


def _job(
    composed: DictConfig, directory: RunDirectory
) -> RunDirectory | ExperimentError | RequestError:
    log = logging.FileHandler(directory.log, encoding="utf-8")
    log.setFormatter(logging.Formatter(_LOG_FORMAT))
    logging.getLogger().addHandler(log)
    with contextlib.closing(log):
        try:
            run_job(composed, directory, resumable=directory.path, owns_process=False)
            return directory
        except (RequestError, ExperimentError) as error:
            outcome: RequestError | ExperimentError = error
        except (Exception, RecordWriteError) as error:  # noqa: BLE001 - the caller raises it
            outcome = ExperimentError(f"{type(error).__name__}: {error}")
            outcome.__cause__ = error
        # Not on the terminal: whoever called is told by the exception.
        log.handle(logger.makeRecord(logger.name, logging.ERROR, "", 0, "%s", (outcome,), None))
        return outcome


@contextlib.contextmanager
def _silenced(root: logging.Logger) -> Iterator[None]:
    """What a check has to say is said again by the job."""
    handlers = list(root.handlers)
    root.handlers[:] = [logging.NullHandler()]
    try:
        yield
    finally:
        root.handlers[:] = handlers


@contextlib.contextmanager
def _undisturbed() -> Iterator[logging.Logger]:
    """Keep secrets out of what is logged and printed; restore what that and Hydra change."""
    streams, records = (sys.stdout, sys.stderr), logging.getLogRecordFactory()
    hydra = HydraConfig.instance().cfg
    with kept_logging() as root:
        guard_output()
        try:
            yield root
        finally:
            sys.stdout, sys.stderr = streams
            logging.setLogRecordFactory(records)
            HydraConfig.instance().cfg = hydra
