"""The winner in detail: parameters beside trial 0's, network, learning curve, mistakes, and how to train it again."""

from __future__ import annotations

import base64
import io
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo.report.artifacts import read_artifacts
from hpo.report.figures import winner as figures
from hpo.report.words import NOTHING, clipped, count, parameter, percent
from hpo.search_space import toml
from hpo.settings import METRICS

if TYPE_CHECKING:
    from hpo.report.artifacts import Integers, Scores
    from hpo.report.figures.figure import Figure
    from hpo.report.summary import Summary

Picture = tuple[str, str, str]  # data URI, description, caption

# Settings that are needed to train the winner again.
NEEDED_SETTINGS = (
    "dataset", "data", "image_size", "fit", "skip_broken", "epochs", "score", "metric", "seed", "limit_train", "limit_test",
)  # fmt: skip
N_CONFUSED = 20  # pairs of classes in the table of mistakes
SHARP = 64  # pixels: pictures with a longer edge are put into the page as JPEG, which takes a fifth of the space


def describe(summary: Summary, folder: Path | None) -> dict[str, Any] | None:
    """Return what the page's part about the best trial shows, with the files in its folder; None without a finished trial."""
    best = summary.best
    if best is None:
        return None
    files = read_artifacts(folder)
    names = class_names(summary, files.scores)
    drawn: list[Figure | None] = [figures.learning(summary)]
    if files.scores is not None:
        drawn += [figures.confusion(files.scores, names), figures.classes(files.scores, names), figures.calibration(files.scores)]
    return {
        "number": best,
        "parameters": _parameters(summary, best),
        "beside": best != 0 and 0 in summary.params.index and summary.ours and not summary.by_run,
        "again": again(summary, best),
        "layers": files.layers,
        "figures": [figure for figure in drawn if figure is not None],
        "confused": confused(files.scores, names) if len(names) > figures.MOST_IN_MATRIX and files.scores is not None else [],
        "pictures": _galleries(files.scores, names) if files.scores is not None else {},
        "missing": files.missing if summary.ours and summary.objective.is_network else [],
    }


def confused(scores: Scores, names: list[str]) -> list[tuple[str, str, int, str]]:
    """Return the most frequent mistakes: the true class, the predicted one, how many images, and which part of the true class."""
    wrong, n = scores.labels != scores.predicted, len(names)
    pairs, times = np.unique(scores.labels[wrong] * n + scores.predicted[wrong], return_counts=True)
    pairs, times = pairs[times > 1], times[times > 1]  # once is no habit
    most = np.argsort(-times, kind="stable")[:N_CONFUSED]
    there = np.bincount(scores.labels, minlength=n)
    return [
        (names[true], names[predicted], int(often), percent(often / there[true], 0))
        for (true, predicted), often in ((divmod(int(pairs[i]), n), times[i]) for i in most)
    ]


def class_names(summary: Summary, scores: Scores | None) -> list[str]:
    """Return a name for every class; numbers if the study's names do not match."""
    if scores is None:
        return []
    n = scores.confidence.shape[1]
    return [clipped(name, 40) for name in summary.classes] if len(summary.classes) == n else [str(i) for i in range(n)]


def _parameters(summary: Summary, best: int) -> list[tuple[str, str, str]]:
    """Return each parameter's name, its value, and trial 0's."""
    rows = []
    for name, column in summary.params.items():
        if not pd.isna(column[best]):
            default = column.get(0, np.nan)
            rows.append((str(name), parameter(column[best]), NOTHING if pd.isna(default) else parameter(default)))
    return rows


def again(summary: Summary, best: int) -> str:
    """Return commands that write a space file in which nothing varies, and run it once; empty if too little is recorded."""
    if summary.by_run:
        return _objective_again(summary)
    stored = summary.space.get("parameters")
    known = summary.objective.is_network or summary.objective.kind
    if not summary.ours or not isinstance(stored, dict) or not known:
        return ""
    fixed = {name: one["value"] for name, one in stored.items() if isinstance(one, dict) and "value" in one}
    chosen = {name: summary.params[name][best] for name in summary.params if name in stored}
    lines = [
        f"{name} = {toml(value.item() if isinstance(value, np.generic) else value)}"
        for name, value in (fixed | chosen).items()
        if _is_key(name)
    ]
    options = {f"--{key.replace('_', '-')}": summary.settings.get(key) for key in NEEDED_SETTINGS}
    if folder := options["--data"]:
        near = _near(str(folder))
        options["--data"] = near if near != folder else re.split(r"[\\/]", near)[-1]  # pages are passed on
    said = [
        key if value is True else f"{key} {shlex.quote(str(value))}"
        for key, value in options.items()
        if value not in (None, False) and (key, value) != ("--metric", METRICS[0])
    ]
    name = shlex.quote(f"{summary.name[:80]}-winner")  # names have up to 100 characters
    begin = f"python -m hpo run {name} {shlex.join(map(_near, summary.objective.options))}".rstrip()
    words = [begin, "--space winner.toml --trials 1", "--sampler random --pruner none", *said]
    command = " \\\n  ".join(words)
    latest = summary.objective.recipe
    other = f"# This study has recipe {summary.recipe}; a new study has recipe {latest}, and scores may differ."
    comment = [other] if summary.recipe != latest else []
    return "\n".join([*comment, "cat > winner.toml <<'END'", *lines, "END", command])


def _near(word: str) -> str:
    """Return a word of a command; a path below the current folder as it is named from there."""
    try:
        return str(Path(word).relative_to(Path.cwd())) if Path(word).is_absolute() else word
    except (ValueError, OSError):  # it lies elsewhere, or the current folder is gone
        return word


def _objective_again(summary: Summary) -> str:
    """Return a command that calls an Optuna objective with the winner's parameters; empty where it would not be the same."""
    path, _, name = summary.objective.source.rpartition(":")
    file = Path(path)
    if not file.stem.isidentifier() or not name.isidentifier():
        return ""
    point = f"trial = optuna.trial.FixedTrial({dict(summary.best_params)!r})"
    code = ["import optuna", f"from {file.stem} import {name}", "", point, f"print({name}(trial))"]
    return "\n".join([f"cd {shlex.quote(str(file.parent))}", "python - <<'END'", *code, "END"])


def _is_key(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier() and name.isascii()


def _galleries(scores: Scores, names: list[str]) -> dict[str, list[Picture]]:
    """Return the mistakes and the successes among the pictures that the worker chose, in its order, each under a heading."""
    right = (scores.predicted == scores.labels)[scores.shown]
    wrong, correct = np.flatnonzero(~right), np.flatnonzero(right)
    made = {
        f"Its {count(len(wrong), 'most confident mistake')}": _pictures(scores, names, wrong),
        count(len(correct), "typical success", "typical successes"): _pictures(scores, names, correct),
    }
    return {title: pictures for title, pictures in made.items() if pictures}


def _pictures(scores: Scores, names: list[str], which: Integers) -> list[Picture]:
    found = []
    for i in which:
        row = int(scores.shown[i])
        true, predicted = names[scores.labels[row]], names[scores.predicted[row]]
        sure = percent(float(scores.confidence[row].max()), 0)
        said = f"{true}, predicted {predicted}" if true != predicted else true
        alt = f"Picture of {true}, predicted {predicted} with {sure} confidence"
        found.append((_data_uri(scores.pictures[i]), alt, f"{said}, {sure}"))
    return found


def _data_uri(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    from PIL import Image

    file = io.BytesIO()
    kind, how = ("png", {}) if len(pixels) <= SHARP else ("jpeg", {"quality": 85})
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **how)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
