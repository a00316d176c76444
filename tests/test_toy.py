"""Somebody's own objective, a function of two parameters in toy.py, is searched as the built-in network is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import toy

import hpo
from hpo.cli.main import main
from hpo.errors import UsageError

SETTINGS = hpo.Settings(epochs=3)


class Interrupted(hpo.Watcher):
    """Ends its run at the fifth epoch, as Ctrl-C pressed twice does."""

    epochs = 0

    def epoch(self, *_):
        self.epochs += 1
        if self.epochs == 5:
            raise KeyboardInterrupt


class Resumed(hpo.Watcher):
    """Remembers which trials went on, and after which epoch."""

    def __init__(self):
        self.trials = []

    def resumed(self, _board, trial, epoch):
        self.trials.append((trial.number, epoch))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))

    def run(begin=hpo.run, trials=12, **options):
        given = hpo.RunOptions(trials=trials, workers=1, device="cpu")
        return begin("hill", options=given, **{"objective": toy.OBJECTIVE} | options)

    return run


def test_it_runs_prunes_resumes_and_reports(run, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(settings=SETTINGS, watcher=Interrupted())
    resumed = Resumed()
    record = run(hpo.resume, watcher=resumed).record
    assert (2, 1) in resumed.trials  # trial 1 waits after its first step, so that the fifth is trial 2's first
    assert record.counts["complete"] + record.counts["pruned"] == 12
    assert record.counts["pruned"] >= 4
    best = record.best
    assert best.value == max(t.value for t in record.own if t.state.name == "COMPLETE")
    assert best.value == 3 * (800 - (best.params["east"] - 3) ** 2 - 10 * (best.params["north"] - 4) ** 2)
    assert best.user_attrs["slope"] == 7
    assert record.rows(top=1)[0]["height"] == best.value
    assert main(["show", "hill"]) == 0
    shown = capsys.readouterr().out
    assert "height" in shown
    assert not any(word in shown for word in ("dataset", "score", "macs"))
    page = hpo.write_report(record).read_text()
    assert f"{best.value:.4g} m" in page.replace("\N{NO-BREAK SPACE}", " ")
    words = page[: page.index("plotly.js")] if "plotly.js" in page else page
    assert "accuracy" not in words
    assert "CIFAR" not in words


def test_it_continues_with_its_own_objective_only(run):
    run(settings=SETTINGS, trials=1)
    with pytest.raises(UsageError, match=r"study 'hill' maximizes 'hill', and you asked for 'convnet'"):
        run(hpo.resume, objective=None)


def test_a_worker_that_trains_it_does_not_load_torch():
    code = "import sys, toy, hpo.training.worker; print('torch' in sys.modules, 'optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(toy.__file__).parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
