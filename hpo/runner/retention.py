"""Folders of a study's trials, with checkpoints and results: the best trials' are kept, others are removed at the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import StorageError
from hpo.folders import is_within, trial_folder
from hpo.scoring import correct
from hpo.store.own import best_first
from hpo.system.files import refusal

if TYPE_CHECKING:
    from hpo.search.study import WritableStudy


class Folders:
    """The folders of a study's trials.

    Args:
        study: Its complete trials are ranked by score.
        keep: Folders of so many best trials stay.
    """

    def __init__(self, study: WritableStudy, keep: int) -> None:
        self._root, self._keep, self._maximize = study.folder, keep, study.score.maximize
        self._values = {trial.number: trial.value for trial in study.ranked}  # of the complete trials whose folders stay

    def of(self, number: int) -> Path:
        """Return a trial's folder."""
        return trial_folder(self._root, number).absolute()

    def keep_correct(self, number: int) -> None:
        """Move which images a trial got right from its folder, which may go, to where those of all ended trials are.

        Before the trial's end is recorded: whoever reads of the end finds them.

        Raises:
            StorageError: The disk refuses.
        """
        answers, kept = self.of(number) / correct.FILE, self._root / correct.FOLDER / correct.name(number)
        if not answers.exists() or not is_within(kept, self._root):  # trained by an older hpo, or a link leads elsewhere
            return
        try:
            kept.parent.mkdir(exist_ok=True)
            answers.replace(kept)
        except OSError as error:
            raise StorageError(f"cannot write {kept}: {refusal(error, kept)}") from error

    def tidy(self, number: int, score: float | None) -> None:
        """Remove an ended trial's folder; of a complete trial (one with a score) only if it is not among the best."""
        removed = [number]
        if score is not None:
            self._values[number] = score
            removed = best_first(self._values.items(), maximize=self._maximize)[self._keep :]
        for worse in removed:
            self._values.pop(worse, None)
            shutil.rmtree(self.of(worse), ignore_errors=True)
