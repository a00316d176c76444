"""The Python API from a script, as a person writes it: without `if __name__ == "__main__"`."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from instant import new_study, run
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from running import Hpo, on_one_core

from hpo.dashboard import beside
from hpo.dashboard.note import note_of
from hpo.report.summary import summarize
from hpo.store.database import locate
from hpo.store.reading import reader
from hpo.store.reading.record import load

SCRIPT = """
import json
import threading

import hpo
from hpo.runner.board import Watcher

class Counter(Watcher):
    epochs = 0
    def epoch(self, board, trial, epoch):
        self.epochs += 1

counter = Counter()
outcome = hpo.run(
    "scripted",
    settings=hpo.Settings(dataset="digits", epochs=2, limit_train=200, limit_test=100, pruner="none"),
    space=hpo.SearchSpace.of("mine", {
        "depth": 1, "filters": 4, "batch_size": 64,
        "lr": {"type": "float", "low": 0.01, "high": 0.1, "default": 0.05},
    }),
    options=hpo.RunOptions(trials=2, workers=1, device="cpu"),
    storage="scripted.db",
    watcher=counter,
)
said = {"reason": outcome.reason, "code": outcome.exit_code, "finished": outcome.record.n_finished, "epochs": counter.epochs}

def elsewhere():  # in another thread signals are the caller's to handle
    said["resumed"] = hpo.resume("scripted", options=hpo.RunOptions(trials=3, workers=1), storage="scripted.db").record.n_finished

thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()

record = hpo.load("scripted", "scripted.db")
said["page"] = str(hpo.write_report(record))
frame = record.dataframe()
said |= {
    "default": record.trials[0].params, "best": [record.best.value, float(frame.accuracy.max())], "columns": list(frame.columns),
    "settings": record.settings.epochs, "space": record.space.name, "numbers": frame.number.tolist(),
}
try:
    hpo.load("scriptd", "scripted.db")
except hpo.HpoError as error:
    said["error"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def said(folder, cache):
    """What the script prints."""
    hpo = Hpo(folder, cache)
    (hpo.folder / "script.py").write_text(SCRIPT)
    program = hpo.start_python("-W", "error", "script.py")
    assert program.ended() == 0, program.err
    assert program.err == ""
    return json.loads(program.out)


def test_run_trains_to_the_total_and_tells_its_watcher(said):
    assert (said["reason"], said["code"], said["finished"], said["epochs"]) == ("total", 0, 2, 4)
    assert said["default"] == {"lr": 0.05}


def test_resume_goes_on_from_another_thread_too(said):
    assert said["resumed"] == 3


def test_load_returns_what_is_stored(said):
    assert (said["settings"], said["space"], said["numbers"]) == (2, "mine", [0, 1, 2])
    assert said["best"][0] == said["best"][1]
    assert {"number", "state", "accuracy", "lr", "seconds", "n_parameters"} <= set(said["columns"])


@pytest.mark.usefixtures("said")
def test_the_dashboard_is_kept_current_as_by_the_command(folder):
    record = load("scripted", locate(str(folder / "scripted.db")))
    assert get_note(record.study).startswith(note_of(summarize(record)))
    system = record.study._storage.get_study_system_attrs(record.study._study_id)
    titles = {json.loads(text)["layout"]["title"]["text"] for text in get_plotly_graph_objects(system).values()}
    assert titles == {f"{title}, trial {record.best.number}" for title in ("Confusion matrix", "Learning curve of the winner")}


def test_the_page_is_written_where_the_command_writes_it_and_only_on_request(said, folder):
    assert said["page"] == "reports/scripted.html"
    assert "Study scripted" in (folder / said["page"]).read_text()


def test_the_command_on_the_page_trains_the_winner_again(said, folder, cache):
    page = (folder / said["page"]).read_text()
    command = html.unescape(re.search(r"the winner again</h3>.*?<code>(.*?)</code>", page, re.DOTALL)[1])
    python = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HPO_CACHE_DIR": str(cache)}
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=os.environ | python, capture_output=True, text=True, preexec_fn=on_one_core
    )
    assert done.returncode == 0, done.stderr
    first = load("scripted", locate(str(folder / "scripted.db")))
    again = load("scripted-winner", locate(str(folder / "studies" / "hpo.db")))
    assert again.counts == {"complete": 1}
    assert again.space.point() == first.space.point(first.best.params)
    same = {"dataset", "epochs", "score", "seed", "limit_train", "limit_test"}
    assert again.settings.model_dump(include=same) == first.settings.model_dump(include=same)


def test_errors_are_hpos_own_and_say_what_is_there(said):
    assert said["error"] == "there is no study 'scriptd' in scripted.db. Did you mean 'scripted'?"


def test_meanwhile_another_process_publishes(tmp_path):
    study = new_study(tmp_path / "hpo.db")
    run(study, 2)
    assert "dashboard:note_ver" not in reader.published(load("first", locate(str(tmp_path / "hpo.db"))))
    beside.publish_beside("first", str(tmp_path / "hpo.db"))
    assert "dashboard:note_ver" in reader.published(load("first", locate(str(tmp_path / "hpo.db"))))


def test_where_that_fails_its_last_words_are_the_reason_and_hold_no_password(tmp_path):
    new_study(tmp_path / "hpo.db")
    with pytest.raises(RuntimeError, match=r"there is no study 'none' in .*hpo\.db") as failed:
        beside.publish_beside("none", str(tmp_path / "hpo.db"))
    assert "\n" not in str(failed.value)
    with pytest.raises(RuntimeError) as failed:
        beside.publish_beside("none", "postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(failed.value)
