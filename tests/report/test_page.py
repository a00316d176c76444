import gzip
import itertools
import json
import re
from html.parser import HTMLParser

import made
import numpy as np
import optuna
import pytest
from made import summarize, write_report

from hpo.errors import StorageError
from hpo.report.artifacts import Scores
from hpo.report.page import page, trial_table
from hpo.report.winner import again, confused


class Skeleton(HTMLParser):
    """The page's elements: tags, headings, ids, alternatives."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.drawings = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[name] for name in ("href", "src", "action", "data") if name in attrs]
        self.images += [attrs] if tag == "img" else []
        self.drawings += [attrs] if attrs.get("class") == "drawing" else []


def written(tmp_path, study, **more):
    return write_report(study, tmp_path / "page.html", **more).read_text()


def block(text, name):
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def studies():
    return {
        "empty": lambda: made.study([]),
        "one": lambda: made.searched(1),
        "fifty": lambda: made.searched(50),
        "running": lambda: made.study([made.trial(0, "RUNNING", [0.5]), made.trial(1, "WAITING")]),
        "failed": lambda: made.study([made.trial(i, "FAIL", reason="boom") for i in range(3)]),
        "foreign": made.foreign,
        "foreign_bare": lambda: optuna.create_study(study_name="bare"),
        "infinite": lambda: made.study([made.trial(0, value=float("inf")), made.trial(1, value=0.5)]),
        "equal": lambda: made.study([made.trial(i, accuracies=[0.5, 0.5], n_parameters=10) for i in range(12)]),
    }


@pytest.mark.parametrize("name", list(studies()))
def test_every_study_gets_a_sound_page(tmp_path, name):
    text = written(tmp_path, studies()[name]())
    page = Skeleton(text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids), "nothing is fetched, links lead inside the page"
    assert [one["id"] for one in page.drawings] == [one["id"] for one in block(text, "figures")]
    assert page.tags.count("figcaption") == len(page.drawings), "what each shows, in words"
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is skipped"


@pytest.mark.parametrize("name", list(studies()))
def test_plotly_accepts_every_figure(tmp_path, name):
    from plotly.graph_objects import Figure

    for one in block(written(tmp_path, studies()[name]()), "figures"):
        Figure(data=one["data"], layout=one["layout"])


def test_the_same_study_gives_the_same_bytes(tmp_path):
    storage = f"sqlite:///{tmp_path}/made.db"
    made.searched(30, storage)
    made.artifacts(tmp_path)
    pages = []
    for _ in range(2):
        study = optuna.load_study(study_name="cifar10", storage=storage)
        pages.append(write_report(study, tmp_path / "x.html", artifacts=tmp_path).read_bytes())
    assert pages[0] == pages[1]


def test_the_page_forbids_what_is_not_its_own(tmp_path):
    text = written(tmp_path, made.searched(5))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_fifty_trials_with_pictures_stay_small(tmp_path):
    made.artifacts(tmp_path)
    text = written(tmp_path, made.searched(50), artifacts=tmp_path)
    assert len(text.encode()) < 5_500_000
    assert len(gzip.compress(text.encode(), 6)) < 2_000_000


def test_the_winner_is_shown_with_its_files(tmp_path):
    made.artifacts(tmp_path)
    text = written(tmp_path, made.searched(20), artifacts=tmp_path)
    page = Skeleton(text)
    assert {"learning", "confusion", "classes", "calibration"} <= set(page.ids)
    assert len(page.images) == 48
    assert all(re.match(r"Picture of \w+, predicted \w+ with \d+\W% confidence", one["alt"]) for one in page.images)
    assert "blocks.0.conv" in text
    assert "Its 24 most confident mistakes" in text
    assert "24 typical successes" in text


def test_pictures_of_one_channel_are_shown_grey(tmp_path):
    made.artifacts(tmp_path, n=300, edge=8, channels=1)
    assert "scores.npz cannot" not in written(tmp_path, made.searched(5), artifacts=tmp_path)


def test_missing_files_are_named_and_the_rest_appears(tmp_path):
    text = written(tmp_path, made.searched(20), artifacts=tmp_path / "nothing")
    assert "The winner&#39;s file scores.npz is missing" in text
    assert "The winner&#39;s file layers.json is missing" in text
    assert 'id="history"' in text


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
        lambda path: path.write_bytes(path.read_bytes()[:500] + bytes(500) + path.read_bytes()[1000:]),
        lambda path: np.savez(path, logits=np.zeros((3, 2))),
        lambda path: np.savez(path, logits=[[np.nan] * 2], labels=[0], pictures=np.zeros((0, 8, 8, 3), "u1"), picture_indices=[]),
        lambda path: np.savez(path, logits=np.array([object()]), labels=[0]),
        lambda path: np.savez(
            path,
            logits=np.zeros((3, 2)),
            labels=[0, 1, 7],
            pictures=np.zeros((0, 8, 8, 3), "u1"),
            picture_indices=np.zeros(0, int),
        ),
        lambda path: np.savez(
            path,
            logits=np.zeros((3, 2)),
            labels=[0, 1, 1],
            pictures=np.zeros((1, 9000, 8, 3), "u1"),
            picture_indices=[0],
        ),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_damaged_scores_are_named_and_the_rest_appears(tmp_path, damage):
    made.artifacts(tmp_path, n=500)
    damage(tmp_path / "scores.npz")
    text = written(tmp_path, made.searched(5), artifacts=tmp_path)
    assert "The winner&#39;s file scores.npz cannot be used" in text
    assert "blocks.0.conv" in text


@pytest.mark.parametrize("content", ["", "{", "3", '[{"name": "x"}]', "[1]", '[{"name":1,"kind":2,"output_shape":3}]'])
def test_damaged_layers_are_named_and_the_rest_appears(tmp_path, content):
    made.artifacts(tmp_path, n=500)
    (tmp_path / "layers.json").write_text(content)
    text = written(tmp_path, made.searched(5), artifacts=tmp_path)
    assert "The winner&#39;s file layers.json cannot be used" in text
    assert 'id="confusion"' in text


def test_the_space_says_what_each_parameter_is_where_hpo_knows(tmp_path):
    assert "<td>blocks of two convolutions</td>" in written(tmp_path, made.searched(3))
    assert "what it is" not in written(tmp_path, made.foreign())


def test_where_the_data_lay_on_the_machine_is_not_told(tmp_path):
    for place in ("in /home/me/data/cifar10.", "from C:\\data\\x.tar.gz.", "in ~/data."):
        text = written(tmp_path, made.study([], environment={"data": f"60,000 image files {place}"}))
        assert "<dd>60,000 image files.</dd>" in text


@pytest.mark.parametrize("out", ["no/such/folder/x.html", "/proc/x.html", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path, out):
    with pytest.raises(StorageError, match=r"cannot write"):
        write_report(made.study([]), tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_reports_is_made(tmp_path):
    assert write_report(made.study([]), tmp_path / "reports" / "x.html").exists()


def test_the_table_holds_every_trial_exactly(tmp_path):
    study = made.searched(50)
    table = block(written(tmp_path, study), "trials")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    for trial, row in zip(study.get_trials(), rows, strict=True):
        assert row["trial"] == trial.number
        assert row["value"] == trial.value
        assert {name: row[name] for name in trial.params} == trial.params


def test_a_parameter_named_like_a_column_does_not_replace_it():
    space = {"value": made.SPACE["dropout"], "state": made.SPACE["norm"]}
    study = made.study([made.trial(0, value=0.5, params={"value": 0.1, "state": "batch"}, space=space)])
    table = trial_table(summarize(study))
    assert len(table["columns"]) == len(table["rows"][0])
    assert table["rows"][0][:3] == (0, "finished", 0.5)


def test_drawing_is_thinned_honestly_beyond_two_thousand(monkeypatch, tmp_path):
    monkeypatch.setattr("hpo.report.figures.figure.ALL_DRAWN", 100)
    study = made.searched(900)
    text = written(tmp_path, study)
    best = summarize(study).best
    assert re.search(r"Drawn: the best 100 and an even sample of the others, 300 of \d+ trials\.", text)
    figures = {one["id"]: one for one in block(text, "figures")}
    slice_ = [n for trace in figures["slice-0"]["data"] for n in trace.get("customdata", [])]
    assert 0 in slice_
    assert best in slice_
    assert all(len(one["data"]) <= 6 for one in figures.values()), "never a trace a trial"


def test_a_hostile_study_breaks_nothing(tmp_path):
    evil = "</script><script>document.title=1</script><img src=x onerror=hacked>{{7*7}}%{x}\0\ud800"
    space = {evil: made.SPACE["lr"], "choice": optuna.distributions.CategoricalDistribution((evil, "b"))}
    rng = np.random.default_rng(0)
    trials = [made.trial(i, accuracies=made.curve(rng.random()), params=made.point(rng, space), space=space) for i in range(20)]
    trials.append(made.trial(20, "FAIL", reason=evil))
    study = made.study(trials, name=evil.replace("\ud800", ""), settings={evil: evil}, environment={"x": [evil, {evil: 1}]})
    study.set_user_attr("space", {"name": evil, "parameters": {evil: {"value": evil}, "lr": evil}})
    study.set_user_attr("command", evil)
    text = written(tmp_path, study, title=evil)
    page = Skeleton(text)
    assert page.tags.count("script") == 5, "three blocks of data, plotly and ours"
    assert "img" not in page.tags
    assert block(text, "trials")["columns"].count(evil) == 1
    assert "{{7*7}}" in text


def test_settings_of_any_shape_are_shown(tmp_path):
    study = made.searched(3)
    for value in (3, "text", ["list"], None, {"epochs": "ten", "dataset": {"a": [1]}}):
        for name in ("settings", "space", "environment", "command"):
            study.set_user_attr(name, value)
        assert "<h1>" in written(tmp_path, study)


def test_the_command_that_repeats_the_winner_is_a_space_that_hpo_reads(tmp_path):
    from hpo.builtin.convnet import Config
    from hpo.search_space import SearchSpace

    text = page(summarize(made.searched(20)))
    toml = re.search(r"&lt;&lt;&#39;END&#39;\n(.*?)\nEND", text, re.DOTALL)[1].replace("&#34;", '"')
    (tmp_path / "winner.toml").write_text(toml)
    best = made.searched(20).best_trial
    config = SearchSpace.from_toml(tmp_path / "winner.toml", Config).point()
    assert (config["lr"], config["depth"], config["kernel"]) == (best.params["lr"], best.params["depth"], 3)


def test_of_hundreds_of_classes_the_most_frequent_mistakes_are_a_table_and_the_worst_classes_are_drawn(tmp_path):
    names = [f"species {i}" for i in range(300)]
    made.artifacts(tmp_path, n=3000, classes=300)
    study = made.study(made.searched().trials, environment={"n_scored": 3000, "classes": names})
    page = tmp_path / "page.html"
    made.write_report(study, page, artifacts=tmp_path)
    text = page.read_text()
    assert "Its most frequent mistakes" in text
    assert "Confusion matrix" not in text
    assert "Accuracy by class: the worst 40 of 300" in text
    assert "scores.npz" not in text
    few = tmp_path / "few.html"
    made.artifacts(tmp_path, n=3000, classes=256)
    made.write_report(study, few, artifacts=tmp_path)
    assert "Confusion matrix" in few.read_text()
    assert "Its most frequent mistakes" not in few.read_text()


def test_mistakes_are_counted_by_pair_the_most_frequent_first():
    labels, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), np.array([0, 1, 1, 1, 0, 2, 0, 0, 0])
    scores = Scores(np.zeros((9, 3)), labels, predicted, np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64))
    found = [(a, b, n, part.replace("\N{NO-BREAK SPACE}", " ")) for a, b, n, part in confused(scores, ["owl", "wren", "tit"])]
    assert found == [("tit", "owl", 3, "75 %"), ("owl", "wren", 2, "67 %")]  # a wren is taken for an owl but once


def test_files_below_the_current_folder_are_named_from_there_in_the_command_that_trains_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"name": "mine", "parameters": {"lr": {"type": "float", "low": 0.1, "high": 1.0, "default": 0.2}}}

    def command(source, data):
        study = made.study([made.trial(params={"lr": 0.2}, accuracies=made.curve(0.5))], settings={"data": data}, space=space)
        study.set_user_attr("objective", {"name": "net", "kind": "train", "source": f"{source}:train", "score": "accuracy"})
        return again(made.summarize(study), 0)

    below = command(tmp_path / "code" / "net.py", f"{tmp_path}/more/birds")
    assert "--train code/net.py:train" in below
    assert "--data more/birds" in below
    assert str(tmp_path) not in below
    beside = command("/elsewhere/net.py", "/elsewhere/birds")
    assert "--train /elsewhere/net.py:train" in beside
    assert "--data birds" in beside
