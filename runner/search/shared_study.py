"""A study that several processes work on: each claims candidates until the budget is used up.

A candidate is a trial of an Optuna study in a database. Whoever claims one shows signs of life in
it. One that shows none for long is given up, and handed out again with the same parameters.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from runner.errors import ExperimentError
from runner.search.database import open_storage, read_address, reason
from runner.search.fit_notes import DIED, from_json, to_json
from runner.search.fold_by_fold import Candidate
from runner.search.origin import Origin
from runner.search.space import Space
from runner.search.study_address import CONTENT, StudyAddress, check_content, is_described
from runner.search.suggest import suggest
from runner.secrets import MASK, mask

logger = logging.getLogger(__name__)

# What is noted in the study and in its trials.
_RUN, _ALIVE, _FOLDS, _FIRST, _DEATHS = "run", "alive", "folds", "first", "deaths"
_SIGNS_PER_TAKEOVER, _LONGEST_WAIT_S = 6, 2.0


class SharedStudy:
    """One process's part in a shared study; `join` makes one.

    Parameters
    ----------
    study
        The study, with this process's own sampler and pruner.
    storage
        Its storage, closed by `leave`.
    origin
        What this process evaluates, and its run directory.
    n_iter
        Candidates in all, of all processes.
    takeover_s
        Seconds without a sign of life after which a process counts as dead.
    retries
        How often a candidate whose process died is handed out again before it counts as failed.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.RDBStorage,
        origin: Origin,
        *,
        n_iter: int,
        takeover_s: float,
        retries: int,
    ) -> None:
        self.study = study
        self._storage = storage
        self._origin = origin
        self._n_iter = n_iter
        self._takeover_s = takeover_s
        self._retries = retries
        self._claimed: list[optuna.Trial] = []
        # Sign of life and when it was first seen, of other processes' trials by number.
        self._seen: dict[int, tuple[Any, float]] = {}
        self._has_left = threading.Event()
        self._is_told_of_waiting = False

    @classmethod
    def join(
        cls,
        address: StudyAddress,
        origin: Origin,
        sampler: optuna.samplers.BaseSampler | None,
        pruner: optuna.pruners.BasePruner | None,
        **settings: Any,
    ) -> Self:
        """Begin the study, or join it where another process has begun it; `settings` as above.

        Raises
        ------
        RequestError
            When the database can't be reached, or the study is one of something else.
        """
        storage = open_storage(read_address(address.storage))
        name = address.name
        try:
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction="maximize",
                sampler=sampler,
                pruner=pruner,
            )
            study.set_user_attr(CONTENT, dict(origin.content))
            logger.info("study '%s' begun; other runs can join it", name)
        except DuplicatedStudyError:
            study = optuna.load_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner
            )
            if not is_described(study):
                study.set_user_attr(CONTENT, dict(origin.content))
            check_content(name, study, origin)
            # Whoever began it draws from the seed; the same draws again would be no new points.
            study.sampler.reseed_rng()
            n_done = sum(map(_is_evaluated, study.get_trials(deepcopy=False)))
            logger.info("study '%s' joined; %d candidates are evaluated", name, n_done)
        joined = cls(study, storage, origin, **settings)
        joined._release_own()
        threading.Thread(target=joined._show_life, daemon=True).start()
        return joined

    def claim(self, most: int, space: Space, rank_by: str) -> list[Candidate]:
        """Claim up to `most` candidates; none where the budget is used up.

        Those that this process has claimed and not told come first, alone: a search that is run
        again goes on with them.
        """
        if not self._claimed:
            self._take_over()
            while len(self._claimed) < most and self._has_room():
                trial = self.study.ask()
                if self._place(trial.number) >= self._n_iter:
                    # Another process was faster; not evaluated, it counts for nothing.
                    self.study.tell(trial, state=TrialState.FAIL)
                    break
                trial.set_user_attr(_RUN, self._origin.run)
                trial.set_user_attr(_ALIVE, 0)
                self._claimed.append(trial)
                # Before the next is asked for: what a sampler knows of other trials is read then.
                suggest(space, trial, without_secrets)
        return [Candidate(t, suggest(space, t, without_secrets), rank_by) for t in self._claimed]

    def tell(self, candidate: Candidate) -> None:
        """Note how a claimed candidate did."""
        trial = candidate.trial
        try:
            trial.set_user_attr(_FOLDS, [to_json(fit) for fit in candidate.fits])
            candidate.tell(self.study)
        except (UpdateFinishedTrialError, ValueError):
            logger.warning(
                "candidate %d was given to another run: nothing was heard of this one for "
                "search.takeover_s=%g",
                trial.number,
                self._takeover_s,
            )
        self._forget(trial)

    def give_back(self, candidate: Candidate) -> None:
        """Leave a claimed candidate to whoever asks next."""
        self._hand_out_again(candidate.trial.number, has_died=False)
        self._forget(candidate.trial)

    def _forget(self, trial: optuna.Trial) -> None:
        self._claimed = [other for other in self._claimed if other.number != trial.number]

    def is_complete(self) -> bool:
        """Whether the budget is used up, and no process is at work any more."""
        counted = self._counted()
        budget = counted[: self._n_iter]
        return len(counted) >= self._n_iter and all(t.state.is_finished() for t in budget)

    def wait(self) -> None:
        """Wait a moment for other processes."""
        if not self._is_told_of_waiting:
            logger.info("waiting for candidates that other runs are at")
            self._is_told_of_waiting = True
        time.sleep(min(_LONGEST_WAIT_S, self._takeover_s / _SIGNS_PER_TAKEOVER))

    def candidates(self, space: Space, rank_by: str) -> list[Candidate]:
        """Every evaluated candidate of all processes, in the order in which they were proposed."""
        evaluated = [t for t in self.study.get_trials() if _is_evaluated(t)]
        evaluated.sort(key=lambda trial: int(trial.user_attrs.get(_FIRST, trial.number)))
        return [
            Candidate(
                trial,
                suggest(space, FixedTrial(trial.params), stored=without_secrets),
                rank_by,
                [from_json(fit) for fit in trial.user_attrs[_FOLDS]],
                is_pruned=trial.state == TrialState.PRUNED,
                is_elsewhere=trial.user_attrs.get(_RUN) != self._origin.run,
            )
            for trial in evaluated
        ]

    def leave(self) -> None:
        """Hand out again what was claimed and not told, and let go of the database."""
        self._has_left.set()
        # On the way out of what may be a failure already; others will see that it is silent.
        with contextlib.suppress(Exception):
            for trial in self._claimed:
                self._hand_out_again(trial.number, has_died=False)
        self._claimed = []
        self._storage.engine.dispose()

    def _counted(self) -> list[FrozenTrial]:
        """Trials that are part of the budget."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.state != TrialState.FAIL or _is_evaluated(t)]

    def _place(self, number: int) -> int:
        """How many of the budget come before a trial; never more when it is asked again."""
        return sum(trial.number < number for trial in self._counted())

    def _has_room(self) -> bool:
        counted = self._counted()
        waits = any(t.state == TrialState.WAITING for t in counted[: self._n_iter])
        return waits or len(counted) < self._n_iter

    def _take_over(self) -> None:
        """Hand out again what has shown no sign of life for long."""
        now = time.monotonic()
        own = {trial.number for trial in self._claimed}
        seen: dict[int, tuple[Any, float]] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number in own:
                continue
            sign, since = trial.user_attrs.get(_ALIVE), now
            known = self._seen.get(trial.number)
            if known is not None and known[0] == sign:
                since = known[1]
            seen[trial.number] = (sign, since)
            if now - since > self._takeover_s:
                logger.warning(
                    "nothing is heard of the run at candidate %d: it is given out again",
                    trial.number,
                )
                self._hand_out_again(trial.number, has_died=True)
        self._seen = seen

    def _release_own(self) -> None:
        """Hand out again what this run had claimed before it was killed and resumed."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(_RUN) == self._origin.run:
                self._hand_out_again(trial.number, has_died=False)

    def _hand_out_again(self, number: int, has_died: bool) -> None:
        """Fail a trial, and let another with the same parameters wait for whoever asks next."""
        try:
            trial = self.study.tell(number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            return  # it has ended after all, or another process does this
        if _is_evaluated(trial):
            return
        attributes: dict[str, Any] = {
            _FIRST: trial.user_attrs.get(_FIRST, number),
            _DEATHS: trial.user_attrs.get(_DEATHS, 0) + has_died,
        }
        state = TrialState.WAITING
        if attributes[_DEATHS] > self._retries:
            state = TrialState.FAIL
            attributes[_FOLDS] = [DIED]
            logger.warning("candidate %d counts as failed: its process died, again", number)
        self.study.add_trial(
            create_trial(
                state=state,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
                system_attrs=trial.system_attrs,
            )
        )

    def _show_life(self) -> None:
        sign = 0
        while not self._has_left.wait(self._takeover_s / _SIGNS_PER_TAKEOVER):
            sign += 1
            for trial in list(self._claimed):
                # Told meanwhile, or no database for a while: silence says all there is to say.
                with contextlib.suppress(Exception):
                    trial.set_user_attr(_ALIVE, sign)
        self._storage.remove_session()


def without_secrets(value: Any) -> Any:
    """What a study keeps of an option: itself, or only its place where it holds a secret."""
    return value if mask(value) == value else [MASK]


def _is_evaluated(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and _FOLDS in trial.user_attrs


@contextlib.contextmanager
def reached() -> Iterator[None]:
    """Say in one line that the database of a study failed in the block."""
    try:
        yield
    except StorageInternalError as error:
        raise ExperimentError(f"the study's database failed: {reason(error)}") from error
