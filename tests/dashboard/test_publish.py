"""What the dashboard shows of a study after a publication, read as the dashboard reads it."""

import io
import json
import shutil
import threading
import urllib.request

import made
import numpy as np
import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._note import get_note_from_system_attrs
from optuna_dashboard.artifact._backend import list_study_artifacts
from PIL import Image

from hpo.dashboard import pictures, publish, stored_notes
from hpo.dashboard.note import note_of
from hpo.dashboard.pictures import Curve, Panel
from hpo.dashboard.server import server
from hpo.errors import StorageError
from hpo.report.artifacts import Scores
from hpo.report.summary import summarize
from hpo.store.database import locate, open_storage
from hpo.store.record import load

HOSTILE = "<img src=x onerror=alert(1)> **b** $x$\n# h ![i](y)"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "hpo.db"
    open_storage(locate(str(path)), create=True)
    return path


@pytest.fixture
def store(empty, tmp_path):
    """Put a study of these trials into a database of its own and return its record."""

    def put(trials, **more):
        shutil.copy(empty, tmp_path / "hpo.db")
        location = locate(str(tmp_path / "hpo.db"))
        made.study(trials, "first", open_storage(location), **{"settings": {"dataset": "digits"}} | more)
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
    """The artifacts that the dashboard lists, by file name."""
    return {entry["filename"]: entry["artifact_id"] for entry in list_study_artifacts(system(record))}


def without_pictures(note):
    return note.partition("\n\n## The winner in pictures")[0].rstrip() + "\n"


def files(record):
    return {path.name for path in publish.artifacts_folder(record.location).glob("*")}


def complete(i, *accuracies, **more):
    return made.trial(i, "COMPLETE", accuracies, train_loss=[2.0, 1.0], score_loss=[2.1, 1.2], **more)


# -- notes -------------------------------------------------------------------------------------------------------------


def test_the_dashboard_shows_the_studys_note(store):
    record = store([complete(0, 0.4, 0.5)])
    published(record)
    assert without_pictures(get_note(record.study)) == note_of(summarize(now(record)))


def test_a_long_note_is_shown_whole_and_a_shorter_one_leaves_nothing_of_it(store):
    classes = {"n_scored": 100, "classes": [f"class {i}" for i in range(400)]}
    record = store([complete(0, 0.4, 0.5)], settings={"dataset": "digits"}, space={"name": "x", "parameters": classes})
    record.study.set_user_attr("command", "hpo run " + "x" * 9000)
    published(record)
    assert without_pictures(get_note(record.study)) == note_of(summarize(now(record)))
    record.study.set_user_attr("command", "hpo run")
    published(record)
    assert without_pictures(get_note(record.study)) == note_of(summarize(now(record)))
    assert len(get_note(record.study)) < 2000


def test_a_publication_without_news_changes_nothing(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner), made.trial(1, "FAIL", reason="why")])
    published(record)
    before = record.location.path.read_bytes(), files(record)
    published(record)
    assert (record.location.path.read_bytes(), files(record)) == before


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
    assert without_pictures(get_note(record.study)) == note_of(summarize(now(record)))


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
    assert len(note(record, 1)) < stored_notes.PART


def test_what_a_person_wrote_on_a_trial_stays(store):
    record = store([made.trial(0, "FAIL", reason="out of memory")])
    published(record)
    trial_id = record.study.get_trials()[0]._trial_id
    record.study._storage.set_study_system_attr(record.study._study_id, f"dashboard:{trial_id}:note_str:0", "mine")
    published(record)
    assert note(record, 0) == "mine"


def test_so_many_trials_get_a_note_as_the_dashboard_bears_failures_first(store, monkeypatch):
    monkeypatch.setattr(stored_notes, "MAX_NOTES", 3)
    record = store([made.trial(i, "FAIL" if i in (2, 5) else "PRUNED", [0.1], reason="why") for i in range(6)])
    for _ in range(2):
        published(record)
        assert [number for number in range(6) if note(record, number)] == [0, 2, 5]
    record.study.add_trial(made.trial(6, "FAIL", reason="why"))
    published(record)
    assert [number for number in range(7) if note(record, number)] == [0, 2, 5, 6]


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_the_winners_confusion_and_curves_are_pictures_that_the_dashboard_shows(store, winner):
    record = store([complete(0, 0.4, 0.5), complete(1, 0.5, 0.7, checkpoint=winner)], environment={"classes": made.CLASSES})
    published(record)
    assert set(shown(record)) == {"trial-1-confusion.png", "trial-1-learning.png"}
    for picture in shown(record).values():
        assert f"(/artifacts/{record.study._study_id}/{picture})" in get_note(record.study)
    with server(record.location) as made_server:
        thread = threading.Thread(target=made_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{made_server.server_port}"
        for picture in shown(record).values():
            with urllib.request.urlopen(f"{address}/artifacts/{record.study._study_id}/{picture}", timeout=20) as answer:
                assert answer.headers["Content-Type"] == "image/png"
                content = answer.read()
            assert len(content) < 40_000
            width, height = Image.open(io.BytesIO(content)).size
            assert 300 < width < 1000
            assert 300 < height < 1000
        made_server.shutdown()
        thread.join()


def test_a_new_winners_pictures_take_the_place_of_the_old_ones(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    published(record)
    old = files(record)
    mine = {"artifact_id": "abc", "filename": "mine.txt", "mimetype": "text/plain", "encoding": None}
    record.study._storage.set_study_system_attr(record.study._study_id, "artifacts:abc", json.dumps(mine))
    record.study.add_trial(complete(1, 0.5, 0.7, checkpoint=winner))
    published(record)
    assert set(shown(record)) == {"trial-1-confusion.png", "trial-1-learning.png", "mine.txt"}
    assert files(record) == {shown(record)["trial-1-confusion.png"], shown(record)["trial-1-learning.png"]}
    assert not files(record) & old


def test_a_picture_that_is_gone_from_the_folder_is_drawn_again_and_one_that_a_person_removed_is_not(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    published(record)
    lost, removed = (shown(record)[f"trial-0-{kind}.png"] for kind in ("confusion", "learning"))
    for picture in (lost, removed):
        (publish.artifacts_folder(record.location) / picture).unlink()
    record.study._storage.set_study_system_attr(record.study._study_id, f"artifacts:{removed}", "null")  # as the dashboard does
    published(record)
    assert files(record) == {lost}
    assert removed not in get_note(record.study)
    assert set(shown(record)) == {"trial-0-confusion.png"}


def test_without_the_winners_files_there_are_curves_alone(store, winner, tmp_path):
    (tmp_path / "hpo" / "first" / "trial-00001" / "scores.npz").write_bytes(b"PK damaged")
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    published(record)
    assert set(shown(record)) == {"trial-0-learning.png"}


@pytest.mark.parametrize("trials", [[], [made.trial(0, "RUNNING", [0.1])], [made.trial(0, "FAIL", reason="why")]])
def test_without_a_complete_trial_there_is_a_note_and_no_picture(store, trials):
    record = store(trials)
    published(record)
    assert get_note(record.study)
    assert not shown(record)


def test_two_studies_of_one_database_keep_their_own_pictures(store, winner):
    first = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    made.study([complete(0, 0.4, 0.5, checkpoint=winner)], "second", first.study._storage, settings={"dataset": "digits"})
    second = load("second", first.location)
    published(first)
    published(second)
    assert len(files(first)) == 4
    assert not set(shown(first).values()) & set(shown(second).values())


# -- what is not ours, or refuses --------------------------------------------------------------------------------------


def test_a_study_that_hpo_did_not_make_is_left_alone(empty, tmp_path):
    shutil.copy(empty, tmp_path / "hpo.db")
    location = locate(str(tmp_path / "hpo.db"))
    optuna.create_study(study_name="theirs", storage=open_storage(location)).optimize(lambda t: t.suggest_float("x", 0, 1), 3)
    before = location.path.read_bytes()
    publish.publish(load("theirs", location))
    with server(location) as made_server:
        thread = threading.Thread(target=made_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for path in ("/api/studies", "/api/studies/1?after=0", "/dashboard/"):
            urllib.request.urlopen(f"http://127.0.0.1:{made_server.server_port}{path}", timeout=20).close()
        made_server.shutdown()
        thread.join()
    assert location.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hpo.db"]


def test_a_folder_that_cannot_be_written_is_one_sentence_and_nothing_is_half_published(store, winner):
    record = store([complete(0, 0.4, 0.5, checkpoint=winner)])
    publish.artifacts_folder(record.location).write_text("in the way")
    before = system(record)
    with pytest.raises(StorageError, match="a picture of the winner cannot be stored"):
        published(record)
    assert system(record) == before


# -- drawing -----------------------------------------------------------------------------------------------------------


def scores(n_classes, n=200):
    rng = np.random.default_rng(0)
    confidence = rng.dirichlet(np.ones(n_classes), n)
    labels = rng.integers(0, n_classes, n)
    return Scores(confidence, labels, confidence.argmax(axis=1), np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64))


@pytest.mark.parametrize("names", [["one"], ["", "\ud800 <b>"], [HOSTILE * 9] * 10, list("abcdefghijklmnopqrst"), ["x"] * 100])
def test_any_classes_can_be_drawn(names):
    png = pictures.confusion(scores(len(names)), names, "Confusion matrix, trial 1")
    width, height = Image.open(io.BytesIO(png)).size
    assert 300 < max(width, height) < 1000


def test_a_confusion_matrix_is_dark_where_the_images_are():
    n = 10
    right = Scores(np.eye(n), np.arange(n), np.arange(n), np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64))
    picture = Image.open(io.BytesIO(pictures.confusion(right, [""] * n, "t"))).convert("L")
    cells = np.asarray(picture)[66 + 4 : 66 + 480 : 48, 50 + 4 : 50 + 480 : 48]  # a corner of each cell, free of its number
    assert (cells.argmin(axis=1) == np.arange(n)).all()
    assert (cells[~np.eye(n, dtype=bool)] > 250).all()


@pytest.mark.parametrize("y", [[0.5], [0.5, 0.5], [0.0, 0.0], [-1e9, 1e9], [1e-12, 2e-12], [0.1 * i for i in range(500)]])
def test_any_curve_can_be_drawn(y):
    png = pictures.learning([Panel("accuracy", True, [Curve("trial 1", "#000000", range(1, len(y) + 1), y)])], "t")
    assert Image.open(io.BytesIO(png)).size == (450, 380)


def test_losses_that_are_no_numbers_are_left_out(store):
    trial = made.trial(0, "COMPLETE", [0.4, 0.5], train_loss=[None, "x", float("inf"), True], score_loss={"a": 1})
    record = store([trial])
    published(record)
    assert set(shown(record)) == {"trial-0-learning.png"}
