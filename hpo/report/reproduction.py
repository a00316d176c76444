"""A trial and its repetition: identical, the same within noise, or different; and what differs between then and now.

Identical is: the score of every epoch, the losses, which of the scored images are right, and the weights where the trial's are
still there, all to the last bit. Noise is that of the scored images: two networks of which one is right where the other is wrong
about equally often are the same as far as these images can tell (McNemar's test, exact, at 5 %). Where nobody knows which images
each got right, a difference of shares is held against its own interval (Newcombe), which is about twice as wide. Of other scores
nobody knows the noise: they are identical, or different.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hpo import folders
from hpo.errors import DataError, NoResultError
from hpo.report.statistics.stats import Z, difference, mcnemar, paired
from hpo.scoring import correct
from hpo.store import own
from hpo.store.reading import results
from hpo.system import weights

if TYPE_CHECKING:
    from hpo.messages import Epoch
    from hpo.objective import Objective
    from hpo.store.reading.record import StudyRecord
    from hpo.store.schema import Trial

LEVEL = 0.05  # of the test
ACCURACY = "accuracy"
_LOSSES = ("train_loss", "score_loss", ACCURACY)  # what hpo's own training measures beside the score
_COMPARED = {  # what of an environment may change what comes out of a training
    "hpo": "hpo",
    "git_commit": "commit",
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "python": "Python",
    "device": "device",
    "precision": "precision",
    "threads": "threads",
    "processor": "processor",
    "platform": "platform",
    "data_digest": "data digest",
    "classes": "classes",
    "n_train": "training images",
    "n_scored": "scored images",
    "file_digest": "code",
}
_SHOWN = 60  # characters of a value

Difference = tuple[str, str, str]  # what, then, now


class Row(NamedTuple):
    """An epoch: its score then and now, and whether all that was measured is equal to the last bit."""

    epoch: int
    before: float | None
    again: float | None
    identical: bool


@dataclass(frozen=True)
class Reproduction:
    """What came of training a trial again.

    Attributes:
        record, trial: What was trained again.
        differs: What is different now: what, then, now. Then is when the study was made.
        rows: By epoch; empty where it was not trained.
        verdict: `identical`, `same` (within noise) or `different`.
        why: By how much, and what that was held against.
        stopped: Why the training was interrupted; the same command continues it.
        network: Where its network is, if it has left one.
    """

    record: StudyRecord
    trial: Trial
    differs: Sequence[Difference] = ()
    rows: Sequence[Row] = ()
    verdict: str = "different"
    why: str = "other images: there is nothing to compare, and it was not trained"
    stopped: str = ""
    network: Path | None = None

    def with_network(self, path: Path | None) -> Reproduction:
        """Return the same with the place of its network."""
        return dataclasses.replace(self, network=path)

    @property
    def exit_code(self) -> int:
        """0 where it came out the same, 5 where it did not."""
        return NoResultError.exit_code if self.verdict == "different" else 0

    @property
    def sentence(self) -> str:
        """What came out, for people."""
        said = {"identical": "identical", "same": "the same within noise", "different": "different"}[self.verdict]
        return f"trial {self.trial.number} of study {self.record.name}: {said}; {self.why}."


def differences(record: StudyRecord, objective: Objective, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return what of the environment is not as it was when the study was made; what one side does not say is passed over."""
    found = []
    for key, what in _COMPARED.items():
        then, today = before.get(key), now.get(key)
        if then is not None and today is not None and then != today:
            found.append((what, _short(then), _short(today)))
    made = record.objective.digest
    if made and objective.digest and made != objective.digest and not any(what == "code" for what, _, _ in found):
        found.append(("code", _short(made), _short(objective.digest)))
    return found


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return f"{text[:12]}…"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def compared(
    record: StudyRecord, trial: Trial, epochs: Sequence[Epoch], folder: Path, differs: Sequence[Difference]
) -> Reproduction:
    """Compare a trial with its repetition, whose files are in `folder`."""
    rows = _rows(record, trial, epochs)
    answers = _answers(record, trial, epochs, folder)
    same_answers = answers is None or bool((answers[0] == answers[1]).all())
    same_weights = _same_weights(record, trial, folder / folders.NETWORK)
    if rows and all(row.identical for row in rows) and same_answers and same_weights is not False:
        more = f", and the same answers on {len(answers[0]):,} images" if answers else ""
        more += ", and the same weights" if same_weights else ""
        why = f"{len(rows)} of {len(rows)} epochs are equal to the last bit{more}"
        return Reproduction(record, trial, differs, rows, "identical", why)
    verdict, why = _judged(record, rows, answers)
    first = next((row.epoch for row in rows if not row.identical), None)
    if first is not None:
        why += f"; equal to the last bit before epoch {first}" if first > 1 else "; other from the first epoch on"
    return Reproduction(record, trial, differs, rows, verdict, why)


def _rows(record: StudyRecord, trial: Trial, epochs: Sequence[Epoch]) -> list[Row]:
    curves = own.metrics(record.notes(trial)) if record.objective.is_network else {}
    before, again = trial.intermediate_values, {epoch.number: epoch for epoch in epochs}
    rows = []
    for number in sorted(before.keys() | again.keys()):
        epoch, score = again.get(number), before.get(number)
        measured = epoch.metrics if epoch else {}
        pairs = [
            (curves[key][number - 1], measured[key]) for key in _LOSSES if number <= len(curves.get(key, ())) and key in measured
        ]
        identical = epoch is not None and score == epoch.score and all(then == now for then, now in pairs)
        rows.append(Row(number, score, epoch.score if epoch else None, identical))
    return rows


def _answers(
    record: StudyRecord, trial: Trial, epochs: Sequence[Epoch], folder: Path
) -> tuple[correct.Bits, correct.Bits] | None:
    """Return which scored images were right after the last epoch, then and now; None where that is not known of both."""
    environment = record.attributes.get("environment")
    n = environment.get("n_scored") if isinstance(environment, dict) else None
    if type(n) is not int or not epochs or len(epochs) != trial.last_step:
        return None
    curve = own.metrics(record.notes(trial)).get(ACCURACY)
    accuracies = (
        curve[-1] if curve else trial.intermediate_values[epochs[-1].number],
        epochs[-1].metrics.get(ACCURACY, epochs[-1].score),
    )
    paths = record.folder / correct.FOLDER / correct.name(trial.number), folder / correct.FILE
    before, again = (correct.read(path, n, accuracy) for path, accuracy in zip(paths, accuracies, strict=True))
    return None if before is None or again is None else (before, again)


def _same_weights(record: StudyRecord, trial: Trial, network: Path) -> bool | None:
    """Return whether the weights are those of the trial's own network; None where one of them is not there."""
    left = results.left(record, trial)
    if left is None or left.name != folders.NETWORK or not left.is_file() or not network.is_file():
        return None
    try:
        return weights.same(left, network)
    except DataError:
        return None


def _judged(record: StudyRecord, rows: Sequence[Row], answers: tuple[correct.Bits, correct.Bits] | None) -> tuple[str, str]:
    """Return the verdict on what is not identical, and its reason."""
    last = rows[-1] if rows else Row(0, None, None, identical=False)
    if last.before is None or last.again is None:
        return (
            "different",
            f"{sum(row.again is not None for row in rows)} epochs, not {sum(row.before is not None for row in rows)}",
        )
    score = record.score
    said = f"{score.name} {score.shown(last.before)}, now {score.shown(last.again)} ({score.gained(last.again - last.before)})"
    if answers is not None:
        once, now = int((answers[0] & ~answers[1]).sum()), int((answers[1] & ~answers[0]).sum())
        n, chance = len(answers[0]), mcnemar(now, once)
        gain, variance = paired(now, once, n)
        half = Z * variance**0.5
        test = (
            f"of {n:,} scored images {once:,} were right only then and {now:,} only now (McNemar's test: p = {chance:.2g}; "
            f"95 % interval {100 * (gain - half):+.2f} to {100 * (gain + half):+.2f} points)"
        )
        return ("same" if chance >= LEVEL else "different"), f"{said}; {test}"
    environment = record.attributes.get("environment")
    n_scored = environment.get("n_scored") if isinstance(environment, dict) else None
    if score.is_share and type(n_scored) is int and n_scored > 0 and 0 <= last.before <= 1 and 0 <= last.again <= 1:
        low, high = difference(last.again, last.before, n_scored)
        interval = (
            f"95 % interval on {n_scored:,} images {100 * low:+.2f} to {100 * high:+.2f} points, as if they were two samples"
        )
        return ("same" if low <= 0 <= high else "different"), f"{said}; {interval}"
    return "different", f"{said}; how much of that is chance, nobody knows of this score"
