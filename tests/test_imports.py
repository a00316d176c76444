"""The two sides stay apart: a command that needs no torch does not wait for it, a worker needs no Optuna."""

from __future__ import annotations

import subprocess
import sys

import pytest
from instant import new_study, run

HEAVY = {"torch", "torchvision", "optuna", "sqlalchemy", "pandas", "plotly", "sklearn"}
API = "import hpo; hpo.run, hpo.load, hpo.resume, hpo.StudyRecord, hpo.Outcome"
READING = (
    "hpo.cli.views hpo.api hpo.dashboard.server hpo.store.reading.record hpo.runner.loop hpo.runner.session hpo.search.study"
)


def loaded(code: str) -> set[str]:
    """Top-level modules in a fresh Python after it ran `code`."""
    shown = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import hpo; hpo.Settings, hpo.SearchSpace, hpo.RunOptions, hpo.Config, hpo.HpoError", HEAVY),
        ("import hpo.cli, hpo.pools.local, hpo.pools.devices, hpo.messages", HEAVY),
        ("from hpo.cli.main import main; main(['--help'])", HEAVY | {"pydantic", "rich"}),
        ("from hpo.cli.main import main; main(['run', '--help'])", HEAVY),
        ("from hpo.cli.main import main; main(['space', 'wide'])", HEAVY),
        (f"{API}; import {READING.replace(' ', ', ')}", {"torch", "torchvision"}),
        ("from hpo.cli.main import main; main(['list', '--storage', 'nowhere.db'])", HEAVY),
        ("import hpo.store.reading.record", HEAVY),
        ("import hpo.doctor.leftovers", HEAVY - {"sqlalchemy", "optuna"}),
        ("import hpo.runner.publishing", HEAVY),
        ("import hpo.dashboard.publish", {"torch", "torchvision", "optuna_dashboard", "sklearn", "plotly"}),
        ("import hpo.training.worker", {"optuna", "sqlalchemy", "torch"}),
        ("import hpo.training.objective, hpo.data.datasets, hpo.training.train", {"optuna", "sqlalchemy"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(code, absent):
    assert loaded(code) & absent == set()


@pytest.mark.parametrize("command", ["list", "show", "trials"])
def test_who_only_looks_at_a_file_waits_for_no_library_of_databases(tmp_path, command):
    run(new_study(tmp_path / "hpo.db"), 2)
    words = [command, *(["first"] if command != "list" else []), "--storage", str(tmp_path / "hpo.db")]
    assert loaded(f"from hpo.cli.main import main; assert main({words}) == 0") & HEAVY == set()
