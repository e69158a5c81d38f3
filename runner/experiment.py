"""The recipe of one run: search, baseline, refit, one look at the test rows, record."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from runner import fork_server
from runner.clusters.backend import backend_for
from runner.clusters.devices import use_device
from runner.compute import Processes, can_fork_workers, processes_for
from runner.config.overrides import to_override
from runner.config.schema import Compute
from runner.errors import ExperimentError
from runner.estimator.saved import save_estimator
from runner.judging import Judged, compare_judged, judge_each
from runner.outcome import choose_winner, count_trials, mean_fit_s
from runner.preparation import Experiment
from runner.results.card import render_card
from runner.results.environment import describe_environment
from runner.results.report.predictions import Fitted
from runner.results.report.run import ReportDetails, write_report
from runner.results.run_directory import RunDirectory
from runner.results.schema import DataSummary, Result, Timing
from runner.results.trials import trials_table, write_trials
from runner.search.curves import Refit, append_curves
from runner.search.limits import Limits
from runner.search.progress import progress
from runner.search.record import FitRecord
from runner.searching import (
    Evaluator,
    evaluate_baseline,
    log_failures,
    log_notes,
    planned_fits,
    run_search,
    warn_of_damage,
)
from runner.secrets import holds_password, mask
from runner.training.runtime import forget_kernels, import_for_fits, start_tensorflow
from runner.training.runtime import settings as tensorflow_settings
from runner.training.states import StateStore

logger = logging.getLogger(__name__)

# Models that earlier jobs of a sweep have built, before TensorFlow forgets what they left behind.
_MOST_BUILT = 25


def run_experiment(
    experiment: Experiment,
    directory: RunDirectory,
    attempt: int = 0,
    begin_tracking: Callable[[], None] = lambda: None,
) -> Result:
    """Run a checked experiment and leave its record in `directory`.

    Parameters
    ----------
    attempt
        How often this run has been resumed.
    begin_tracking
        Called before the first fit, when threads may be started (see `fork_server.begin`).

    Returns
    -------
    Result
        What ``result.json`` says.

    Raises
    ------
    ExperimentError
        When every fit failed; the record says so too.
    """
    started = time.perf_counter()
    outline = _outline(experiment)
    try:
        result = _run(experiment, directory, attempt, begin_tracking, outline, started)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        ended = replace(outline, status="interrupted") if stopped else failed(outline, error)
        # A disk that is full has no room for this either; what went wrong is what must be said.
        with contextlib.suppress(OSError):
            directory.write_result(ended)
        raise
    directory.write_result(result)
    return result


def _run(
    experiment: Experiment,
    directory: RunDirectory,
    attempt: int,
    begin_tracking: Callable[[], None],
    outline: Result,
    started: float,
) -> Result:
    n_candidates, n_fits = planned_fits(experiment)
    logger.info("%d candidates × %d folds", n_candidates, experiment.n_splits)
    if experiment.searches and experiment.ignores_budget:
        logger.info("search.n_iter=%d means nothing here", experiment.config.search.n_iter)
    _say_what_to_mind(experiment)
    record = FitRecord(directory.record, attempt)
    warn_of_damage(record)
    done_before = {(entry.candidate, entry.fold) for entry in record if entry.status == "completed"}
    try:
        processes = _make_ready(experiment, n_fits)
    finally:
        begin_tracking()
    evaluator = _evaluator(experiment, record, directory.states, processes)
    with progress(record, n_fits, experiment.n_splits, experiment.scoring.refit):
        search_started = time.perf_counter()
        search = run_search(evaluator)
        search_s = time.perf_counter() - search_started
        baseline_cv = None
        if experiment.searches:
            baseline_cv = evaluate_baseline(evaluator)

    trials = trials_table(search.cv_results_, refit=experiment.scoring.refit)
    write_trials(trials, directory.trials)
    log_notes(record)
    log_failures(record)
    best_cv = choose_winner(experiment, trials, baseline_cv)
    shutil.rmtree(directory.states, ignore_errors=True)

    evaluations = [best_cv]
    if baseline_cv is not None and baseline_cv is not best_cv:
        evaluations.append(baseline_cv)
    best, *others = judge_each(experiment, evaluations, evaluator.processes, evaluator.backend)
    baseline = None if baseline_cv is None else (others or [best])[0]
    _write_refit_curves(directory, best, baseline)

    fit_s = mean_fit_s(evaluator.estimator(Limits()), record, best_cv, trials)
    result = replace(
        outline,
        best=best.evaluation,
        baseline=baseline.evaluation if baseline else None,
        comparison=compare_judged(experiment, best, baseline) if baseline else None,
        trials=count_trials(search, experiment.n_splits, done_before),
        timing=Timing(0.0, search_s, best.refit_s, fit_s),
    )
    _write_best_overrides(experiment, result, directory)
    save_estimator(best.estimator, directory.model, experiment.data.unused)
    _write_card(experiment, result, directory)
    details = _details(experiment, directory, best, baseline)
    _write_report(directory, _timed(result, started), trials, details, experiment.config.plots)
    return _timed(result, started)


def _timed(result: Result, started: float) -> Result:
    assert result.timing is not None
    return replace(result, timing=replace(result.timing, total_s=time.perf_counter() - started))


def _say_what_to_mind(experiment: Experiment) -> None:
    search = experiment.config.search
    if search.trial_timeout is not None:
        logger.info("search.trial_timeout: which fits end in time depends on this machine's speed")
    if search.time_budget_s is not None:
        logger.info("search.time_budget_s: how many fits are done depends on this machine's speed")
    if search.arguments.get("storage") is not None:
        logger.info("search.storage: where runs share a study, who tries what depends on timing")
    if any(map(holds_password, experiment.config.overrides)):
        logger.warning(
            ".hydra/ keeps the password on the command line: write '${oc.env:NAME}' instead"
        )


def _evaluator(
    experiment: Experiment, record: FitRecord, states: Path, processes: Processes
) -> Evaluator:
    compute = experiment.config.compute
    return Evaluator(
        experiment,
        record,
        StateStore(states, compute.cache_mb, compute.checkpoint_s, keeps_finished=False),
        processes,
        backend_for(compute, processes, experiment.is_network),
    )


def _make_ready(experiment: Experiment, n_fits: int) -> Processes:
    """The processes for the fits, this one ready to begin: that is no part of a search."""
    compute, is_network = experiment.config.compute, experiment.is_network
    processes = processes_for(compute, n_fits, is_network)
    if is_network:
        # On a cluster, this process does no more than write down the winner.
        use_device("cpu" if processes.on_cluster else processes.device)
    if can_fork_workers(compute, processes):
        if is_network:
            import_for_fits()
        processes = processes_for(compute, n_fits, is_network, forked=fork_server.begin())
    if is_network:
        _start_tensorflow(compute, processes)
    return processes


def _start_tensorflow(compute: Compute, processes: Processes) -> None:
    """Start TensorFlow on its device, where this process does fits."""
    if processes.device == "gpu":
        logger.info("networks are trained on the GPU")
    if processes.is_this_one:
        start_tensorflow(compute.threads)
        forget_kernels(after=_MOST_BUILT)
        has_gpu = tensorflow_settings()[1]
        if has_gpu != (processes.device == "gpu"):
            raise ExperimentError(
                f"compute.device={compute.device}: TensorFlow, as it runs in "
                f"this process, {'has a' if has_gpu else 'finds no'} GPU"
            )


def failed(outline: Result, error: BaseException) -> Result:
    """The record of a run that ended with `error`."""
    described = {"type": type(error).__name__, "message": str(error)}
    return replace(outline, status="failed", error=described)


def _outline(experiment: Experiment) -> Result:
    """What is known before anything is trained."""
    config, data = experiment.config, experiment.data
    names = {group: config.choices.get(group, "") for group in ("data", "model", "search")}
    return Result(
        status="completed",
        task=data.task,
        name={**names, "data": data.name},
        seed=config.seed,
        scoring=experiment.scoring.refit,
        overrides=config.overrides,
        environment=describe_environment(),
        data=DataSummary(
            n_train=data.n_train,
            n_test=data.n_test,
            shape=data.shape,
            n_classes=None if data.classes is None else len(data.classes),
            fingerprint=data.fingerprint,
        ),
    )


def _write_refit_curves(directory: RunDirectory, best: Judged, baseline: Judged | None) -> None:
    refits: dict[Refit, Judged | None] = {"best": best, "baseline": baseline}
    for name, judged in refits.items():
        if judged is not None:
            fit = judged.estimator
            append_curves(directory.curves, fit.candidate_id(), fit.fold_, fit.history_, name)


def _write_best_overrides(experiment: Experiment, result: Result, directory: RunDirectory) -> None:
    assert result.best is not None
    lines = []
    for path, value in result.best.params.items():
        line, shown = to_override(path, value), to_override(path, mask(value))
        if len(line.split()) > 1 or line != shown:
            logger.warning("best.overrides can't hold spaces or secrets, left out: %s", shown)
        else:
            lines.append(line)
    directory.write_text(directory.best_overrides, "".join(f"{line}\n" for line in lines))


def _write_report(
    directory: RunDirectory,
    result: Result,
    trials: pd.DataFrame,
    details: ReportDetails,
    with_plots: bool,
) -> None:
    try:
        write_report(directory.path, result, trials, details, with_plots)
    except Exception as error:
        logger.warning("%s could not be written: %s", directory.report.name, error)
        logger.debug("", exc_info=True)


def _write_card(experiment: Experiment, result: Result, directory: RunDirectory) -> None:
    X, classes = experiment.data.X_train, experiment.data.classes
    columns = list(X.columns) if isinstance(X, pd.DataFrame) else None
    card = render_card(result, columns, None if classes is None else list(classes))
    directory.write_text(directory.card, card)


def _details(
    experiment: Experiment, directory: RunDirectory, best: Judged, baseline: Judged | None
) -> ReportDetails:
    data = experiment.data
    command = shlex.join(["python", "-m", "runner", *experiment.config.overrides])
    winner = shlex.quote(os.path.relpath(directory.best_overrides))
    return ReportDetails(
        X_test=data.X_test,
        y_test=data.y_test,
        classes=None if data.classes is None else list(data.classes),
        winner=_fitted(best),
        baseline=None if baseline is None or baseline is best else _fitted(baseline),
        commands=[
            ("The whole run:", command),
            ("The winner alone, to the last bit:", f"{command} $(cat {winner}) search=none"),
        ],
    )


def _fitted(judged: Judged) -> Fitted:
    answers = judged.predictions.answers
    return Fitted(
        answers["predict"], answers.get("predict_proba"), judged.estimator.history_ or None
    )
