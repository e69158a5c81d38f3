"""The space of an adaptive sweep: what each job's own config has to search over."""

from __future__ import annotations

import logging
from typing import Any

import optuna
from omegaconf import DictConfig

from runner.config.compose import compose_config, parse_config
from runner.config.overrides import to_override
from runner.errors import RequestError
from runner.search.suggest import suggest


def suggest_space(config: DictConfig, trial: optuna.Trial) -> None:
    """Suggest a value for every leaf of the space that the job's config has.

    Hydra's Optuna sweeper calls it for every trial, when groups and fixed values are known. So a
    model that was chosen brings its own space, and conditions hold as they do within a search.

    Parameters
    ----------
    config
        The sweep's config, Hydra's part included.
    trial
        Its parameters become the job's overrides, so values that are no numbers go as text.
    """
    # Only now: it imports scikit-learn.
    from runner.preparation import prepare

    chosen: dict[str, Any] = {**trial.user_attrs, **trial.params}
    overrides = [f"{key}={value}" for key, value in chosen.items()]
    folders = [s.path for s in config.hydra.runtime.config_sources if s.provider == "command-line"]
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        composed = compose_config(
            overrides, config.hydra.job.config_name, folders[0] if folders else None
        )
        space = prepare(parse_config(composed)).space
    except RequestError:
        return  # the job will say why
    finally:
        logging.getLogger().removeHandler(silence)
    suggest(space.without(set(chosen)), trial, stored=_as_override)


def _as_override(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else to_override("", value).removeprefix("=")
