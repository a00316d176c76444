import re

import made
import numpy as np
import pytest
from made import Comparison, summarize

from hpo.cli.main import main
from hpo.errors import StorageError, UsageError
from hpo.report.compare import differences
from hpo.report.figures.comparison import band, by_trials


def study(name, accuracies, **settings):
    return made.study([made.trial(i, accuracies=[a]) for i, a in enumerate(accuracies)], name=name, settings=settings)


def gain(first, second):
    return Comparison([first, second]).table()["gain"][1].replace("\N{NO-BREAK SPACE}", " ")


def test_a_real_gain_has_an_interval_without_zero():
    assert gain(study("a", [0.7, 0.8]), study("b", [0.85])) == "+5.0 points (+3.9 to +6.1 points)"


def test_a_gain_within_noise_is_called_so():
    assert gain(study("a", [0.8]), study("b", [0.804])).endswith("within noise)")


DIFFERENT = "not comparable: scored on different images"


@pytest.mark.parametrize("settings", [{"dataset": "digits"}, {"score": "validation"}, {"limit_test": 100}])
def test_scores_on_different_images_are_not_compared(settings):
    assert gain(study("a", [0.8]), study("b", [0.9], **settings)) == DIFFERENT


def test_scores_of_different_objectives_are_not_compared():
    other = study("b", [0.9])
    other.set_user_attr("objective", {"name": "hill", "score": "height", "unit": "m"})
    assert gain(study("a", [0.8]), other) == "not comparable: another objective"


def of_code(study_name, value, **told):
    objective = {"name": "mine.py:train", "score": "loss", "unit": "m", "direction": "minimize", "kind": "train"}
    environment = {"data_digest": None, "n_scored": None}
    found = made.study([made.trial(0, accuracies=[value])], name=study_name, direction="minimize", environment=environment)
    found.set_user_attr("objective", objective | {"source": f"/{study_name}/mine.py:train", "digest": "0"} | told)
    return found


def test_a_gain_of_a_minimized_study_is_called_better_or_worse():
    assert gain(of_code("a", 0.8), of_code("b", 0.5)) == "0.3 m better"
    assert gain(of_code("a", 0.5), of_code("b", 0.8)) == "0.3 m worse"
    assert gain(of_code("a", 0.5), of_code("b", 0.5)) == "equal"
    assert Comparison([of_code("a", 0.8), of_code("b", 0.5)]).values()[1]["gain"] == pytest.approx(0.3)


def test_studies_of_ones_own_code_compare_while_it_is_the_same():
    assert gain(of_code("a", 0.8), of_code("b", 0.5, digest="1")) == "not comparable: trained by other code of that name"
    assert gain(of_code("a", 0.8), of_code("b", 0.5, name="other.py:train")) == "not comparable: another objective"


def test_scores_of_another_objective_are_not_drawn_beside_the_first_ones(tmp_path):
    studies = [of_code("a", 0.8), of_code("b", 0.5), of_code("other", 7.0, name="other.py:train")]
    page = Comparison(studies).write(tmp_path / "page.html").read_text()
    assert "Not drawn, since their scores are others: other." in page
    [alt] = {part.partition("<")[0] for part in page.split("Best so far, by trials: ")[1:]}
    assert alt.startswith("a 0.8\N{NO-BREAK SPACE}m in 1 trial and b 0.5\N{NO-BREAK SPACE}m in 1 trial.")
    assert "image by image" not in page


def test_networks_of_several_kinds_are_compared_on_the_same_images():
    other = study("b", [0.85])
    told = {"name": "resnet18", "score": "accuracy", "unit": "share", "direction": "maximize", "kind": "model"}
    other.set_user_attr("objective", told | {"source": "resnet18", "digest": "0"})
    assert gain(study("a", [0.7, 0.8]), other) == "+5.0 points (+3.9 to +6.1 points)"


@pytest.mark.parametrize(
    ("both", "compared"), [({}, True), ({"score": "validation"}, False), ({"limit_test": 500}, False)], ids=["all", "some", "few"]
)
def test_the_seed_matters_where_it_chooses_the_scored_images(both, compared):
    told = gain(study("a", [0.8], **both), study("b", [0.9], **both, seed=1))
    assert (told != DIFFERENT) == compared
    assert gain(study("a", [0.8], **both), study("b", [0.9], **both)) != DIFFERENT


@pytest.mark.parametrize("environment", [{"data_digest": "other"}, {"n_scored": 5000}], ids=["other data", "other number"])
def test_other_data_are_different_images(environment):
    other = made.study([made.trial(0, accuracies=[0.9])], name="b", environment=environment)
    assert gain(study("a", [0.8]), other) == DIFFERENT


def test_winners_are_compared_image_by_image_where_their_answers_are_known(tmp_path):
    ease = np.random.default_rng(0).random(made.N_SCORED)
    right = [ease < 0.9, ease < 0.91, ease < 0.905]
    studies = [made.answered(right[:2], tmp_path / "a"), made.answered(right[2:] + right[:1], tmp_path / "b")]
    apart = Comparison(studies).table()["gain"][1]
    paired = Comparison(studies, [tmp_path / "a", tmp_path / "b"]).table()["gain"][1]
    assert "within noise" in apart
    assert "within noise" not in paired


def test_studies_without_result_have_empty_cells():
    table = Comparison([made.study([]), study("b", [0.9])]).table()
    assert table["best"].tolist() == ["\N{EN DASH}", "90.00\N{NO-BREAK SPACE}%"]


def test_two_studies_of_one_name_are_told_apart():
    assert Comparison([study("a", [0.8]), study("a", [0.9])]).table()["study"].tolist() == ["a", "a (2)"]


def test_only_settings_that_differ_are_listed():
    named = {"a": summarize(study("a", [0.8], seed=1)), "b": summarize(study("b", [0.8], seed=2))}
    assert differences(named) == [("seed", ["1", "2"])]


def test_studies_that_cannot_be_compared_are_a_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="nothing to compare"):
        Comparison([]).table()
    with pytest.raises(UsageError, match="minimize"):
        Comparison([study("a", [0.8]), made.foreign()]).write(tmp_path / "x.html")
    with pytest.raises(StorageError, match="cannot write"):
        Comparison([study("a", [0.8])]).write(tmp_path / "no" / "such" / "x.html")


def test_a_band_holds_the_middle_of_what_chance_would_give():
    rng = np.random.default_rng(0)
    line, low, high = band(rng.random(50))
    assert (low <= high).all()
    assert (np.diff(low) >= 0).all()
    assert (high <= line).all(), "a draw has no trial that the study has not"
    fresh = np.maximum.accumulate(rng.random((2000, 50)), axis=1)[:, -1]
    assert low[-1] == pytest.approx(np.quantile(fresh, 0.1), abs=0.06)


def test_a_band_is_drawn_where_trials_are_enough_and_the_caption_says_where_not(recwarn):
    few = made.study(
        [made.trial(i, "PRUNED", [0.3]) if i % 5 else made.trial(i, accuracies=[0.8]) for i in range(20)], name="few"
    )
    many = study("many", np.linspace(0.5, 0.9, 20))
    named = {"few": summarize(few), "many": summarize(many)}
    figure = by_trials(named)
    assert [trace["legendgroup"] for trace in figure.data] == ["few", "many", "many", "many"]
    low, high, _ = (trace for trace in figure.data if trace["legendgroup"] == "many")
    assert low["x"] == high["x"]
    assert None not in low["y"] + high["y"]
    assert figure.note.endswith("No band for few: fewer than 5 finished trials.")
    assert by_trials({"few": summarize(few)}).note == "No band for few: fewer than 5 finished trials."
    assert not recwarn.list


def test_the_page_shows_both_studies_and_is_the_same_every_time(tmp_path):
    from plotly.graph_objects import Figure
    from test_page import block

    studies = [made.searched(40, name="a"), made.searched(30, name="<b>", settings={"seed": 3})]
    first, second = (Comparison(studies).write(tmp_path / name).read_text() for name in ("x.html", "y.html"))
    assert first == second
    assert "&lt;b&gt; against a: " in first
    figures = block(first, "figures")
    assert [one["id"] for one in figures] == ["by-trials", "by-time"]
    for one in figures:
        Figure(data=one["data"], layout=one["layout"])
        assert "<b>" not in str(one)


def test_the_table_on_a_terminal_has_per_cents_as_a_person_reads_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        made.searched(12, storage=f"sqlite:///{tmp_path}/made.db", name=name)
    assert main(["compare", "a", "b", "--storage", "made.db"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\d\d\.\d\d %", shown)
    assert "\\x" not in shown
