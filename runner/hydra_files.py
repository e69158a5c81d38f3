"""Hydra's own files of a run (``.hydra/``), written so that a kill never leaves half of one."""

from __future__ import annotations

from pathlib import Path

from hydra.core import utils
from omegaconf import DictConfig, OmegaConf

from runner.results.atomic import write_text


def write_whole() -> None:
    """Have Hydra write its files in one step, in this process.

    It opens a file, which empties it, and then fills it. A run that is resumed has its files
    written again; killed in between, it could not be resumed any more.
    """
    utils._save_config = _save


def _save(cfg: DictConfig, filename: str, output_dir: Path) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    write_text(output_dir / filename, OmegaConf.to_yaml(cfg))
