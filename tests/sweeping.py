"""What tests of sweeps share: a model that can go wrong, how a sweep ended, and running one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from command import sweep_of

OWN_MODEL = '''
import os, signal, time
from pathlib import Path
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from sklearn.linear_model import LogisticRegression

class Troubled(LogisticRegression):
    """A logistic regression with troubles of its own."""

    def __init__(self, trouble="none", C=1.0):
        super().__init__(max_iter=500, C=C)
        self.trouble = trouble

    def fit(self, X, y):
        if self.trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "sleeps":
            time.sleep(0.5)
        if self.trouble == "stalls" and self.C > 1:
            Path("stalled").touch()
            while not Path("go_on").exists():
                time.sleep(0.1)
        if self.trouble == "grows" and not Path("go_on").exists():
            kept = b"x" * 1_000_000_000
            time.sleep(20)
        if self.trouble == "makes":
            try:
                instantiate({"_target_": "pathlib.Path", "_args_": ["anything"]})
                Path("made").touch()
            except InstantiationException:
                Path("refused").touch()
        return super().fit(X, y)
'''


def write_troubled(folder: Path, allowed: bool = True) -> Path:
    """Make a user's folder with a model that can go wrong, allowed by its pyproject.toml or not."""
    (folder / "troubled.py").write_text(OWN_MODEL)
    options = folder / "conf" / "model"
    options.mkdir(parents=True)
    (options / "troubled.yaml").write_text("_target_: troubled.Troubled\ntrouble: none\nC: 1.0\n")
    (options / "evil.yaml").write_text("_target_: os.getcwd\ntrouble: none\n")
    if allowed:
        (folder / "pyproject.toml").write_text('[tool.runner]\nallow = ["troubled.*"]\n')
    return folder


def outcome(folder: Path) -> list[dict[str, Any]]:
    """The jobs of the only sweep below a folder, without what depends on the clock."""
    record = json.loads((sweep_of(folder) / "sweep.json").read_text())
    return [
        {k: v for k, v in job.items() if k not in ("total_s", "overrides")}
        for job in record["jobs"]
    ]


def statuses(folder: Path) -> list[str]:
    return [job["status"] for job in outcome(folder)]
