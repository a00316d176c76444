"""Watchers that several tests set on a run."""

from __future__ import annotations

import hpo


class Interrupted(hpo.Watcher):
    """Ends its run at an epoch, as Ctrl-C pressed twice does."""

    def __init__(self, at=5):
        self._left = at

    def epoch(self, *_):
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


class Told(hpo.Watcher):
    """Remembers warnings, and which trials went on after which epoch."""

    def __init__(self):
        self.warnings, self.trials = [], []

    def warned(self, text):
        self.warnings.append(text)

    def resumed(self, _board, trial, epoch):
        self.trials.append((trial.number, epoch))
