"""A config, a command line or a run directory from elsewhere can't run code or write elsewhere."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import joblib
import pytest
from command import ACCEPTED, Attempt, Once, attempt_all
from hydra.errors import InstantiationException
from sklearn.datasets import load_iris

from runner import __version__
from runner.estimator.base import ConfigClassifier

TOUCH = "touch pwned"
EVIL = f"{{_target_: os.system, command: {TOUCH}}}"
# Modules that show that they were imported; the console script would not find them, `-m` does.
EVIL_MODULE = "from pathlib import Path\nPath('pwned').touch()\n"


def hydra(text: str) -> str:
    return f"# @package _global_\nhydra: {{{text}}}\n"


def logging(text: str, section: str = "job_logging") -> str:
    return hydra(f"{section}: {{{text}}}")


# An experiment of the user's conf/, and what the one line that refuses it says.
EXPERIMENTS = {
    "handler_factory": (
        logging(f"handlers: {{x: {{(): os.system, command: {TOUCH}}}}}"),
        "hydra.job_logging.handlers.x.(): nothing in a logging config is made by a factory",
    ),
    "formatter_factory": (
        logging(f"formatters: {{x: {{(): os.system, command: {TOUCH}}}}}"),
        "hydra.job_logging.formatters.x.():",
    ),
    "filter_factory": (logging("filters: {x: {(): os.getcwd}}"), "hydra.job_logging.filters.x.():"),
    "hydra_logging": (
        logging(f"handlers: {{x: {{(): os.system, command: {TOUCH}}}}}", "hydra_logging"),
        "hydra.hydra_logging.handlers.x.():",
    ),
    "handler_class": (
        logging(f"handlers: {{x: {{class: os.system, command: {TOUCH}}}}}"),
        "hydra.job_logging.handlers.x.class: 'os.system' is not allowed; colorlog.Colored",
    ),
    "handler_mistyped": (
        logging("handlers: {x: {class: logging.StreamHandlr}}"),
        "did you mean 'logging.StreamHandler'?",
    ),
    "network_handler": (
        logging("handlers: {x: {class: logging.handlers.SocketHandler, host: h, port: 1}}"),
        "'logging.handlers.SocketHandler' is not allowed",
    ),
    "computed_class": (
        logging("handlers: {x: {class: '${oc.env:NOT_THERE,os}.${oc.env:NOR_THERE,system}'}}"),
        "'os.system' is not allowed",
    ),
    "formatter_class": (
        logging("formatters: {x: {class: os.system}}"),
        "hydra.job_logging.formatters.x.class: 'os.system'",
    ),
    "formatter_style": (
        logging("formatters: {x: {format: '{msg.__class__}', style: '{'}}"),
        "hydra.job_logging.formatters.x.style:",
    ),
    "external_object": (
        logging("handlers: {x: {class: logging.StreamHandler, stream: ext://os.environ}}"),
        "hydra.job_logging.handlers.x.stream: 'ext://os.environ' is not allowed; ext://sys.stdout",
    ),
    "config_reference": (
        logging("handlers: {x: {class: logging.StreamHandler, stream: cfg://handlers}}"),
        "'cfg://handlers' is not allowed",
    ),
    "attributes": (
        logging("handlers: {x: {class: logging.NullHandler, .: {emit: 1}}}"),
        "hydra.job_logging.handlers.x..: nothing in a logging config has attributes set",
    ),
    "callback": (
        hydra(f"callbacks: {{x: {EVIL}}}"),
        "hydra.callbacks.x._target_: 'os.system' is not allowed",
    ),
    "nested_callback": (
        hydra(f"callbacks: {{x: {{_target_: sklearn.svm.SVC, C: {EVIL}}}}}"),
        "hydra.callbacks.x.C._target_: 'os.system'",
    ),
    "launcher": (hydra("launcher: {_target_: os.system}"), "hydra.launcher._target_: 'os.system'"),
    "cluster": (
        hydra("launcher: {_target_: hydra_plugins.hydra_submitit_launcher.SlurmLauncher}"),
        'set RUNNER_ALLOW="hydra_plugins.*"',
    ),
    "sweeper": (hydra("sweeper: {_target_: os.system}"), "hydra.sweeper._target_: 'os.system'"),
    "sampler": (
        "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}]\n"
        "hydra: {sweeper: {sampler: {_target_: os.system}}}\n",
        "hydra.sweeper.sampler._target_: 'os.system'",
    ),
    "search_space_function": (
        "# @package _global_\ndefaults: [{override /hydra/sweeper: optuna}]\n"
        "hydra: {sweeper: {custom_search_space: os.system}}\n",
        "hydra.sweeper.custom_search_space: 'os.system'",
    ),
    "environment": (
        hydra("job: {env_set: {RUNNER_ALLOW: os.*}}"),
        "hydra.job.env_set.RUNNER_ALLOW: a config can't set it",
    ),
    "preload": (hydra("job: {env_set: {LD_PRELOAD: ./x.so}}"), "hydra.job.env_set.LD_PRELOAD:"),
    "elsewhere": (
        hydra("output_subdir: ../../elsewhere"),
        "hydra.output_subdir: '../../elsewhere' leads out of the run's folder",
    ),
    "option_elsewhere": (
        "# @package _global_\ndefaults: [{override /data: ../outside}]\n",
        "Parent traversal ('..')",
    ),
    "import": ("x: ${oc.coerce:evil.kind,1}\n", "oc.coerce makes bool, bytes, float, int, str"),
    "tag": (
        f"x: !!python/object/apply:os.system ['{TOUCH}']\n",
        "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os",
    ),
    "target": (f"# @package _global_\nmodel: {EVIL}\n", "model._target_: 'os.system'"),
    "nested_target": (
        f"# @package _global_\nmodel: {{activation: {{deep: [{EVIL}]}}}}\n",
        "model.activation.deep[0]._target_: 'os.system'",
    ),
    "searched_target": (
        f"# @package _global_\nspace: {{model: {{activation: [{EVIL}]}}}}\n",
        "space.model.activation[0]._target_: 'os.system'",
    ),
    "pickles": (
        "# @package _global_\nmodel: {activation: "
        "{_target_: sklearn.cluster.FeatureAgglomeration, memory: cache}}\n",
        "model.activation.memory: is not allowed: 'cache' may hold pickles",
    ),
}
# They bypass what is done to a single job that is only run.
WAYS = {
    "--cfg=job": "hydra_logging",
    "--info=defaults": "hydra_logging",
    "--help": "hydra_logging",
    "--hydra-help": "hydra_logging",
    "--run": "handler_factory",
    "-m seed=1,2": "callback",
}
LINES = {
    **{f"experiment={name}": says for name, (_, says) in EXPERIMENTS.items()},
    **{f"{way} experiment={name}": EXPERIMENTS[name][1] for way, name in WAYS.items()},
    "-m experiment=quick_start,handler_factory": EXPERIMENTS["handler_factory"][1],
    "-m hydra.job_logging.handlers.file.class=logging.FileHandler,os.system": "'os.system'",
    "-m +hydra.job.env_set.RUNNER_ALLOW=a,b": "hydra.job.env_set.RUNNER_ALLOW:",
    "-m '+hydra.sweeper.params={experiment:\"quick_start,callback\"}'": "hydra.callbacks.x",
    "hydra.mode=MULTIRUN '+hydra.sweeper.params={+hydra.job.env_set.PATH:\"x,y\"}'": "env_set.PATH",
    "+hydra.callbacks.x._target_=os.system": "hydra.callbacks.x._target_: 'os.system'",
    "hydra.job_logging.handlers.file.class=os.system": "hydra.job_logging.handlers.file.class:",
    "hydra.searchpath=[pkg://evil]": "hydra.searchpath: 'pkg://evil' would import 'evil'",
    "hydra[searchpath]=[pkg://evil.kind]": "hydra.searchpath: 'pkg://evil.kind' would import",
    "--config-name=aliased where=[pkg://evil]": "hydra.searchpath: 'pkg://evil' would import",
    "--config-name=imports": "hydra.searchpath: 'pkg://evil' would import 'evil'",
    "--config-name=tagged": "could not determine a constructor for the tag",
    "--experimental-rerun=run": "there is no flag '--experimental-rerun",
    "data=openml data.dataset=../../x": "data.dataset: '../../x' is no name",
}
ALLOWED = [
    "hydra.job_logging.handlers.file.class=logging.handlers.RotatingFileHandler",
    "hydra.job_logging.handlers.terminal.stream=ext://sys.stdout",
    "hydra.job_logging.handlers.file.filename=other.log",
    "+hydra.job.env_set.OMP_NUM_THREADS=1",
    "hydra/job_logging=none",
    "hydra/job_logging=default",
    "hydra.output_subdir=null",
    "data.name=../../x",
    "-m hydra/sweeper=optuna seed=1,2",
    "-m hydra/sweeper=optuna hydra/sweeper/sampler=nsgaii seed=1,2",
    "-m experiment=quick_start,trees_on_a_table",
]


def _fill(folder: Path) -> None:
    conf = folder / "conf"
    (conf / "experiment").mkdir(parents=True)
    for name, (text, _) in EXPERIMENTS.items():
        (conf / "experiment" / f"{name}.yaml").write_text(text)
    (folder / "evil").mkdir()
    for module in ("evil/__init__.py", "evil/kind.py"):
        (folder / module).write_text(EVIL_MODULE)
    (conf / "outside.yaml").write_text("_target_: runner.data.sources.iris\n")
    searched = "defaults: [runner, _self_]\nhydra: {searchpath: [pkg://evil]}\n"
    (conf / "imports.yaml").write_text(searched)
    alias = "defaults: [runner, _self_]\nhydra: {aliases: {where: hydra.searchpath}}\n"
    (conf / "aliased.yaml").write_text(alias)
    (conf / "tagged.yaml").write_text(f"x: !!python/object/apply:os.system ['{TOUCH}']\n")


def _attempted(lines: dict[str, list[str]], fill: Callable[[Path], None]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        fill(work)
        answers = {name: asdict(attempt) for name, attempt in attempt_all(lines, work).items()}
        (folder / "answers.json").write_text(json.dumps(answers))

    return run


def _answers(folder: Path) -> dict[str, Attempt]:
    answers = json.loads((folder / "answers.json").read_text())
    return {line: Attempt(**answer) for line, answer in answers.items()}


@pytest.fixture(scope="session")
def attempts(once: Once) -> dict[str, Attempt]:
    lines = {line: shlex.split(line) for line in (*LINES, *ALLOWED)}
    return _answers(once("trust-lines", _attempted(lines, _fill)))


def _assert_refused(attempt: Attempt, says: str) -> None:
    assert "pwned" not in attempt.left_behind
    assert attempt.code == 2, attempt.err
    (line,) = attempt.err.splitlines()
    assert line.startswith("runner: ")
    assert says in line
    assert not attempt.left_behind
    assert not attempt.imported


@pytest.mark.parametrize("line", LINES)
def test_what_would_run_code_is_refused_in_one_line(
    line: str, attempts: dict[str, Attempt]
) -> None:
    _assert_refused(attempts[line], LINES[line])


@pytest.mark.parametrize("line", ALLOWED)
def test_harmless_settings_of_hydra_are_accepted(line: str, attempts: dict[str, Attempt]) -> None:
    assert attempts[line].code == ACCEPTED, attempts[line].err
    assert not any("x-mlp" in path for path in attempts[line].left_behind)


def test_hydra_itself_refuses_what_a_check_might_miss(folder: Path) -> None:
    (folder / "conf" / "experiment").mkdir(parents=True)
    # Not among what Hydra refuses in any case.
    callback = hydra("callbacks: {x: {_target_: os.mkdir, path: pwned}}")
    (folder / "conf" / "experiment" / "missed.yaml").write_text(callback)
    program = (
        "import sys; from runner import app; app.check_hydra = lambda config: None\n"
        "sys.exit(app.run_app(['data=iris', 'model=svm', 'search=none', 'experiment=missed']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "Target 'os.mkdir' is not in the Hydra execution whitelist" in done.stderr
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_target_is_refused_in_workers_and_threads(
    backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    target = {"_target_": "os.mkdir", "path": str(folder / "pwned")}
    model = {"_target_": "sklearn.ensemble.BaggingClassifier", "estimator": target}
    X, y = load_iris(return_X_y=True)
    with pytest.raises(InstantiationException, match="whitelist"):
        joblib.Parallel(n_jobs=2, backend=backend)(
            joblib.delayed(ConfigClassifier({"model": model}).fit)(X, y) for _ in range(2)
        )
    assert not (folder / "pwned").exists()


# Run directories ----------------------------------------------------------------------------------

HYDRA_YAML = "hydra: {{runtime: {{cwd: {cwd}}}, job: {{config_name: runner}}}}\n"
CALLBACK = "hydra.callbacks.x={_target_:os.system,command:touch pwned}"
OWN_MODULE = '[tool.runner]\nallow = ["evil.*"]\n'
# What a run directory holds beside the usual, and what the one line that refuses it says.
TAMPERED = {
    "target": ({"overrides.yaml": "[model._target_=os.system]"}, "model._target_: 'os.system'"),
    "callback": ({"overrides.yaml": f"['+{CALLBACK}']"}, "hydra.callbacks.x._target_:"),
    "logging": (
        {"overrides.yaml": "[hydra.job_logging.handlers.file.class=os.system]"},
        "hydra.job_logging.handlers.file.class:",
    ),
    "flags": ({"overrides.yaml": "[--config-dir=evil, -m]"}, "'--config-dir=evil' is no override"),
    "tag": ({"overrides.yaml": f"!!python/object/apply:os.system ['{TOUCH}']"}, "can't be read"),
    "mapping": ({"overrides.yaml": "{a: 1}"}, "must be a list of overrides"),
    "numbers": ({"overrides.yaml": "[1, 2]"}, "must be a list of overrides"),
    "hydra_tag": (
        {"hydra.yaml": f"!!python/object/apply:os.system ['{TOUCH}']"},
        "is no run directory",
    ),
    "hydra_types": (
        {"hydra.yaml": "hydra: {runtime: {cwd: [1]}, job: {config_name: 5}}"},
        "is no run directory",
    ),
    "name": (
        {"hydra.yaml": HYDRA_YAML.replace("runner", "../../evil").format(cwd=".")},
        "../../evil",
    ),
    # Its folder would trust itself.
    "folder": (
        {
            "hydra.yaml": HYDRA_YAML.format(cwd="folder"),
            "overrides.yaml": "[data._target_=evil.load]",
            "../pyproject.toml": OWN_MODULE,
            "../evil.py": EVIL_MODULE,
        },
        "modules of one's own are allowed there",
    ),
    "link": ({"../run.log": Path("/etc/hostname")}, "is a link"),
}


def _fill_runs(folder: Path) -> None:
    state = {
        **{"status": "interrupted", "pid": 1, "host": "", "started": 0.0},
        **{"config": "", "data": "", "version": __version__},
    }
    for name, (files, _) in TAMPERED.items():
        run = folder / name
        (run / ".hydra").mkdir(parents=True)
        (run / "state.json").write_text(json.dumps(state))
        usual = {"hydra.yaml": HYDRA_YAML.format(cwd="."), "overrides.yaml": "[]"}
        for file, content in {**usual, **files}.items():
            path = run / ".hydra" / file
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                path.write_text(content)


@pytest.fixture(scope="session")
def resumed(once: Once) -> dict[str, Attempt]:
    lines = {name: ["resume", name, "--force"] for name in TAMPERED}
    return _answers(once("trust-runs", _attempted(lines, _fill_runs)))


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_run_directory_is_not_resumed(name: str, resumed: dict[str, Attempt]) -> None:
    _assert_refused(resumed[name], TAMPERED[name][1])
