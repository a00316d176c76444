"""What the dashboard shows of a study after a publication, read as the dashboard reads it."""

import contextlib
import json
import shutil
import threading
import urllib.request

import made
import optuna
import plotly.graph_objects as go
import pytest
from optuna_dashboard import get_note, save_note, save_plotly_graph_object
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._note import get_note_from_system_attrs

from hpo.dashboard import note as notes
from hpo.dashboard import publish
from hpo.dashboard.note import note_of
from hpo.dashboard.server import server
from hpo.report.summary import summarize
from hpo.store.database import locate, open_database
from hpo.store.reading.record import load

HOSTILE = "<img src=x onerror=alert(1)> **b** $x$\n# h ![i](y)"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "hpo.db"
    open_database(locate(str(path)), create=True)
    return path


@pytest.fixture
def store(empty, tmp_path):
    """Put a study of these trials into a database of its own and return its record."""

    def put(trials, **more):
        shutil.copy(empty, tmp_path / "hpo.db")
        location = locate(str(tmp_path / "hpo.db"))
        made.study(trials, "first", open_database(location).storage, **{"settings": {"dataset": "digits"}} | more)
        return load("first", location)

    return put


@pytest.fixture
def winner(tmp_path):
    """Files of a winner; return the attribute that points there."""
    for study in ("first", "second"):
        folder = tmp_path / "hpo" / study / "trial-00001"
        folder.mkdir(parents=True)
        made.artifacts(folder, n=300)
    return "trial-00001/epoch-0002.ckpt"


def now(record):
    """The study as it is now."""
    return load(record.name, record.location)


def published(record):
    publish.publish(now(record))


def system(record):
    return record.study._storage.get_study_system_attrs(record.study._study_id)


def note(record, number):
    (trial,) = [t for t in record.study.get_trials() if t.number == number]
    return get_note_from_system_attrs(system(record), trial._trial_id)["body"]


def shown(record):
    """The figures that the dashboard draws, by id."""
    return {name: json.loads(text) for name, text in get_plotly_graph_objects(system(record)).items()}


@contextlib.contextmanager
def served(location):
    """The dashboard's address."""
    with server(location) as made_server:
        thread = threading.Thread(target=made_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made_server.server_port}"
        made_server.shutdown()
        thread.join()


def complete(i, *accuracies, **more):
    return made.trial(i, "COMPLETE", accuracies, train_loss=[2.0, 1.0], score_loss=[2.1, 1.2], **more)


# -- notes -------------------------------------------------------------------------------------------------------------


def test_the_dashboard_shows_the_studys_note(store):
    record = store([complete(0, 0.4, 0.5)])
    published(record)
    assert get_note(record.study) == note_of(summarize(now(record)))


def test_a_long_note_is_shown_whole_and_a_shorter_one_leaves_nothing_of_it(store):
    classes = {"n_scored": 100, "classes": [f"class {i}" for i in range(400)]}
    record = store([complete(0, 0.4, 0.5)], settings={"dataset": "digits"}, space={"name": "x", "parameters": classes})
    record.study.set_user_attr("command", "hpo run " + "x" * 9000)
    published(record)
    assert get_note(record.study) == note_of(summarize(now(record)))
    record.study.set_user_attr("command", "hpo run")
    published(record)
    assert get_note(record.study) == note_of(summarize(now(record)))
    assert len(get_note(record.study)) < 2000


def test_a_publication_without_news_changes_nothing(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner), made.trial(1, "FAIL", reason="why")])
    published(record)
    before = record.location.path.read_bytes()
    published(record)
    assert record.location.path.read_bytes() == before


def test_the_note_follows_the_study(store):
    record = store([complete(0, 0.4, 0.5)])
    published(record)
    record.study.add_trial(complete(1, 0.5, 0.75))
    published(record)
    assert "Trial 1: 75.00" in get_note(record.study)


def test_what_a_person_wrote_as_the_studys_note_stays(store):
    record = store([complete(0, 0.4, 0.5)])
    published(record)
    save_note(record.study, "mine")
    published(record)
    assert get_note(record.study) == "mine"
    save_note(record.study, "")
    published(record)
    assert get_note(record.study) == note_of(summarize(now(record)))


def test_trials_that_failed_or_were_stopped_say_why_and_others_nothing(store):
    reason = "stopped by the halving pruner after epoch 1"
    record = store(
        [
            complete(0, 0.4, 0.5),
            made.trial(1, "PRUNED", [0.25], reason=reason),
            made.trial(2, "FAIL", reason="out of memory"),
            made.trial(3, "FAIL"),
            made.trial(4, "RUNNING", [0.1]),
        ]
    )
    published(record)
    assert note(record, 1) == f"**Stopped early:** {reason} (25.00 %)\n"
    assert note(record, 2) == "**Failed:** out of memory\n"
    assert note(record, 3) == "**Failed:** no reason was recorded\n"
    assert note(record, 0) == note(record, 4) == ""


def test_a_reason_is_shown_as_it_is(store):
    record = store([made.trial(0, "FAIL", reason=HOSTILE), made.trial(1, "FAIL", reason="*" * 5000)])
    published(record)
    text = note(record, 0).removeprefix("**Failed:** ")
    assert text.replace("\\", "") == " ".join(HOSTILE.split()) + "\n"
    assert all(text[i - 1] == "\\" for i, c in enumerate(text) if c in "<>*$#![]()")
    assert note(record, 1).count("\\*") == 899
    assert len(note(record, 1)) < notes.PART


def test_what_a_person_wrote_on_a_trial_stays(store):
    record = store([made.trial(0, "FAIL", reason="out of memory")])
    published(record)
    trial_id = record.study.get_trials()[0]._trial_id
    record.study._storage.set_study_system_attr(record.study._study_id, f"dashboard:{trial_id}:note_str:0", "mine")
    published(record)
    assert note(record, 0) == "mine"


def test_so_many_trials_get_a_note_as_the_dashboard_bears_failures_first(store, monkeypatch):
    monkeypatch.setattr(notes, "MAX_NOTES", 3)
    record = store([made.trial(i, "FAIL" if i in (2, 5) else "PRUNED", [0.1], reason="why") for i in range(6)])
    for _ in range(2):
        published(record)
        assert [number for number in range(6) if note(record, number)] == [0, 2, 5]
    record.study.add_trial(made.trial(6, "FAIL", reason="why"))
    published(record)
    assert [number for number in range(7) if note(record, number)] == [0, 2, 5, 6]


# -- figures -----------------------------------------------------------------------------------------------------------


def test_the_winners_confusion_and_curves_are_figures_that_the_dashboard_shows(store, winner):
    record = store([complete(0, 0.4, 0.5), complete(1, 0.5, 0.7, checkpoint=winner)], environment={"classes": made.CLASSES})
    published(record)
    with served(record.location) as address, urllib.request.urlopen(f"{address}/api/studies/1?after=0", timeout=20) as answer:
        drawn = {one["id"]: go.Figure(json.loads(one["graph_object"])) for one in json.load(answer)["plotly_graph_objects"]}
    assert drawn["hpo-confusion"].layout.title.text == "Confusion matrix, trial 1"
    assert drawn["hpo-confusion"].data[0].type == "heatmap"
    assert drawn["hpo-learning"].layout.title.text == "Learning curve of the winner, trial 1"
    curves = {trace.name: list(trace.y) for trace in drawn["hpo-learning"].data}
    assert curves["trial 0, the default"] == [0.4, 0.5]
    assert curves["training loss"] == [2.0, 1.0]


def test_a_new_winners_figures_take_the_place_of_the_old_ones_and_those_of_others_stay(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    save_plotly_graph_object(record.study, go.Figure(), graph_object_id="mine")
    published(record)
    record.study.add_trial(complete(1, 0.5, 0.7))  # without files
    published(record)
    assert set(shown(record)) == {"mine", "hpo-learning"}
    assert shown(record)["hpo-learning"]["layout"]["title"]["text"].endswith("trial 1")


def test_without_the_winners_files_there_are_curves_alone(store, winner, tmp_path):
    (tmp_path / "hpo" / "first" / "trial-00001" / "scores.npz").write_bytes(b"PK damaged")
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    published(record)
    assert set(shown(record)) == {"hpo-learning"}


def test_losses_that_are_no_numbers_are_left_out(store):
    record = store([made.trial(0, "COMPLETE", [0.4, 0.5], train_loss=[None, "x", float("inf"), True], score_loss={"a": 1})])
    published(record)
    assert [trace["name"] for trace in shown(record)["hpo-learning"]["data"]] == ["accuracy"]


@pytest.mark.parametrize("trials", [[], [made.trial(0, "RUNNING", [0.1])], [made.trial(0, "FAIL", reason="why")]])
def test_without_a_complete_trial_there_is_a_note_and_no_figure(store, trials):
    record = store(trials)
    published(record)
    assert get_note(record.study)
    assert not shown(record)


# -- what is not ours, or refuses --------------------------------------------------------------------------------------


def test_a_study_that_hpo_did_not_make_is_left_alone(empty, tmp_path):
    shutil.copy(empty, tmp_path / "hpo.db")
    location = locate(str(tmp_path / "hpo.db"))
    optuna.create_study(study_name="theirs", storage=open_database(location).storage).optimize(
        lambda t: t.suggest_float("x", 0, 1), 3
    )
    before = location.path.read_bytes()
    publish.publish(load("theirs", location))
    with served(location) as address:
        for path in ("/api/studies", "/api/studies/1?after=0", "/dashboard/"):
            urllib.request.urlopen(f"{address}{path}", timeout=20).close()
    assert location.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hpo.db"]
