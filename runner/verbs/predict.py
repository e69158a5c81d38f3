"""``runner predict RUN INPUT``: apply a run's winner to new rows."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runner.logs import kept_logging, terminal_handler
from runner.terminal import live_console
from runner.verbs.arguments import DONE, Parser

_ABOUT = """\
Predict with the winner of a run. RUN is a run's folder, or that of a sweep's job.
INPUT is a table (CSV, Parquet) with the columns of the training data, in any order and with or
without the target; an array (.npz, .npy) of shape (n, …); a PNG image, or a folder of them.
The answer is a table with a row for each of INPUT's: prediction, and probability_<class> where the
model gives probabilities; for images the name of the file comes first.

examples:
  runner predict outputs/runs/2026-11-25/16-52-32-digits-mlp-afd17d new.csv
  runner predict RUN new.parquet -o predictions.parquet
  runner predict RUN mnist.npz --array x_test -o predictions.csv
  runner predict RUN photos/ -o predictions.csv"""


def predict(arguments: Sequence[str]) -> int:
    """Predict for all rows of a file or folder; return 0.

    Raises
    ------
    RequestError
        When there is no model, the input can't be read or holds other rows than the model takes,
        or the output can't be written.
    ExperimentError
        When the model can't predict for such rows.
    """
    options = _parser().parse(arguments)
    output = None if options.output is None else Path(options.output).expanduser()
    # Only now: they import scikit-learn.
    from runner.prediction.inputs import find_input, open_input
    from runner.prediction.model import load_model, model_folder
    from runner.prediction.outputs import answers_table, check_output, open_output

    # What needs no model comes first: a network takes seconds to load.
    folder = model_folder(options.run)
    path = find_input(options.input)
    if output is not None:
        check_output(output, path)
    with kept_logging() as root:
        root.addHandler(terminal_handler())
        root.setLevel(logging.INFO)
        model = load_model(folder)
        source = open_input(path, model, options.ignore, options.array)
        classes = getattr(model.estimator, "classes_", None)
        done = 0
        # Where the answer itself goes to the terminal, a bar would be in its way.
        shows = output is not None or not sys.stdout.isatty()
        with open_output(output) as write, _progress(source.n_rows, shows) as advance:
            for rows in source.read():
                files = source.files and source.files[done : done + len(rows)]
                write(answers_table(model.answer(rows), classes, files))
                done += len(rows)
                advance(len(rows))
    return DONE


def _parser() -> Parser:
    parser = Parser("predict", _ABOUT)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("input", metavar="INPUT")
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a .csv or .parquet file (default: CSV, printed)"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column that the training data had not; may be given more than once",
    )
    parser.add_argument(
        "--array",
        metavar="NAME",
        help="which array of an .npz file (default: the only one, X, or that of the test rows)",
    )
    return parser


@contextlib.contextmanager
def _progress(n_rows: int, shows: bool) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done, where a bar can move."""
    console = live_console() if shows else None
    if console is None:
        yield lambda _: None
        return
    with Progress(
        TextColumn("predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("predicting", total=n_rows)
        yield lambda rows: bar.advance(task, rows)
