"""A generator in a file of one's own is searched, paused, continued, failed and reported as the built-in network is."""

from __future__ import annotations

import json
import sys

import pytest
from hostile import in_process
from watchers import Interrupted, Told

import hpo
from hpo.errors import UsageError
from hpo.own import describe
from hpo.own.log import path_of

MINE = """
import hpo
space = hpo.space(lr=hpo.log(1e-4, 1.0, default=0.1), width=hpo.whole(16, 64, default=32, step=8), depth=3)
objective = hpo.minimize("loss")

def train(config, data, resume):
    loss, start = resume or (5.0, 0)
    print("begin", config.lr, config["width"], len(config), start)
    for epoch in range(start, config.epochs):
        loss = 0.6 * loss + abs(config.lr - 0.02) + abs(config.width - 48) / 100
        yield hpo.Epoch(loss, state=(loss, epoch + 1), metrics={"rate": config.lr})
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mine(here):
    """Write `mine.py` and run it."""

    def run(text=MINE, **options):
        (here / "mine.py").write_text(text)
        given = hpo.RunOptions(**{"trials": 9, "workers": 1, "device": "cpu"} | options)
        return hpo.run(train="mine.py:train", settings=hpo.Settings(epochs=10), options=given)

    return run


def test_it_is_searched_and_the_smaller_loss_is_the_better(mine):
    record = mine().record
    assert record.name == "mine"
    assert record.counts["complete"] + record.counts["pruned"] == 9
    assert record.counts["pruned"] >= 4
    assert record.best.value == min(trial.value for trial in record.own if trial.state.name == "COMPLETE")
    assert record.trials[0].params == {"lr": 0.1, "width": 32}
    assert record.best.user_attrs["rate"] == [record.best.params["lr"]] * 10
    assert record.rows(top=1)[0]["loss"] == record.best.value
    assert record.attributes["environment"]["file_digest"] == record.objective.digest
    assert "mine" not in sys.modules
    page = hpo.write_report(record).read_text()
    assert "less is better" in page
    assert "hpo run mine-winner --train mine.py:train" in page
    assert '"name": "rate"' in page or '"name":"rate"' in page
    assert "missing" not in page[: page.index("plotly.js")]
    words = page[: page.index("plotly.js")] if "plotly.js" in page else page
    assert "accuracy" not in words


def test_images_that_it_was_made_without_are_refused_whichever_they_are(mine):
    mine(trials=1)
    for name in ("cifar10", "digits"):
        with pytest.raises(UsageError, match=rf"was run with no images of hpo's, and you asked for dataset = '{name}'\."):
            hpo.run("mine", train="mine.py", settings=hpo.Settings(dataset=name))


def test_it_goes_on_from_its_last_state_by_the_studys_name_alone(here):
    (here / "mine.py").write_text(MINE)
    options = hpo.RunOptions(trials=9, workers=1, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        hpo.run(train="mine.py", settings=hpo.Settings(epochs=10), options=options, watcher=Interrupted())
    told = Told()
    interrupted = hpo.resume("mine", options=options, watcher=told).record
    assert told.trials[0] in [(0, 4), (0, 5)]
    assert told.warnings == []
    undisturbed = hpo.run("again", train="mine.py", settings=hpo.Settings(epochs=10), options=options).record
    assert [t.intermediate_values for t in interrupted.trials] == [t.intermediate_values for t in undisturbed.trials]


def test_what_it_prints_is_shown_with_its_trial(mine):
    record = mine(trials=2).record
    code, out, err = in_process("show", "mine", "--trial", 0, "--log")
    assert (code, out, err) == (0, "begin 0.1 32 6 0\n", "")
    code, out, _ = in_process("show", "mine", "--trial", 0, "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["curve"] == list(record.trials[0].intermediate_values.values())
    assert in_process("show", "mine", "--trial", 7)[::2] == (2, "error: study 'mine' has no trial 7; it has 2, from 0.\n")
    assert in_process("show", "mine", "--log")[0] == 2


def test_an_error_of_the_code_fails_its_trial_with_the_line_and_the_search_goes_on(mine):
    bad = "        if config.lr != 0.1 and epoch == 1: raise ValueError('too\\nfast')\n        yield"
    record = mine(MINE.replace("        yield", bad), trials=2).record
    failed = [trial for trial in record.trials if trial.state.name == "FAIL"]
    assert failed[0].user_attrs["reason"].startswith("ValueError: too fast (mine.py, line 11: if config.lr")
    assert "Traceback (most recent call last)" in path_of(record.folder / f"trial-{failed[0].number:05d}").read_text()


HEAD = "import sys, hpo\nspace = hpo.space(lr=hpo.real(0, 1))\ndef train(config, data, resume):\n"


@pytest.mark.parametrize(
    ("yielded", "reason"),
    [
        ("hpo.Epoch(float('nan'))", "the score of epoch 1 is nan."),
        ("0.5", "train yielded a float: it should yield hpo.Epoch(score, state=…)."),
        ("hpo.Epoch('high')", "an epoch's score and metrics should be numbers: could not convert string to float: 'high'"),
        ("hpo.Epoch(0.5, state=config)", "The state that is yielded may hold tensors, numpy arrays, numbers, text"),
        ("hpo.Epoch(sys.exit(3))", "SystemExit: 3 (mine.py, line 4: yield hpo.Epoch(sys.exit(3)))"),
    ],
)
def test_what_is_no_epoch_fails_its_trial(mine, yielded, reason):
    outcome = mine(f"{HEAD}    yield {yielded}\n", trials=1)
    assert outcome.record.trials[0].user_attrs["reason"].startswith(reason)


def test_a_metric_keeps_its_values_whatever_it_is_called(mine):
    text = HEAD + (
        "    for n in range(3):\n"
        "        metrics = {'seconds': n, 'state': n, 'reason': n} if n else {'state': 0.5}\n"
        "        yield hpo.Epoch(n, metrics=metrics)\n"
    )
    record = mine(text, trials=1).record
    attributes = record.trials[0].user_attrs
    assert attributes["seconds (metric)"] == attributes["reason (metric)"] == [None, 1.0, 2.0]
    assert attributes["state"] == [0.5, 1.0, 2.0]
    assert isinstance(attributes["seconds"], float)
    row = record.row(record.trials[0])
    assert (row["state"], row["state (metric)"], row["seconds (metric)"], row["score"]) == ("complete", 2.0, 2.0, 2.0)


def test_a_score_may_be_called_as_a_column_is(mine):
    record = mine(
        HEAD.replace("def train", "objective = hpo.minimize('state')\ndef train") + "    yield hpo.Epoch(1)\n", trials=1
    ).record
    assert record.row(record.trials[0])["state (score)"] == 1.0
    assert record.rows(top=1)[0]["state"] == "complete"


def test_code_that_needs_fewer_epochs_is_complete_with_its_last(mine):
    record = mine(f"{HEAD}    yield hpo.Epoch(1.5)\n", trials=1).record
    assert (record.best.value, record.best.last_step, record.measure) == (1.5, 1, "score")


def test_code_without_a_state_is_stopped_and_never_waits(mine):
    record = mine(MINE.replace(", state=(loss, epoch + 1)", ""), trials=12).record
    assert len([trial for trial in record.own if trial.state.name == "PRUNED"]) >= 4
    logs = [path_of(record.folder / f"trial-{trial.number:05d}").read_text() for trial in record.own]
    assert [log.count("begin") for log in logs] == [1] * 12


def test_code_that_changed_since_is_said_with_both_digests(mine, here):
    before = mine(trials=1).record.objective.digest
    (here / "mine.py").write_text(MINE + "\n# better\n")
    now = describe.of_file("mine.py").digest
    told = Told()
    hpo.resume("mine", options=hpo.RunOptions(trials=2, workers=1, device="cpu"), watcher=told)
    digests = f"(SHA-256 {before[:12]}…, now {now[:12]}…)"
    said = f"mine.py:train has changed since the study was made {digests}: earlier trials were trained by other code."
    assert told.warnings == [said]


def test_a_data_set_that_is_named_is_handed_over(here):
    (here / "mine.py").write_text(
        "import hpo\nspace = hpo.space(lr=hpo.real(0, 1))\n"
        "def train(config, data, resume):\n"
        "    print(data.train.images.shape, data.test.images.shape, data.train.labels.dtype, len(data.classes))\n"
        "    yield hpo.Epoch(1)\n"
    )
    settings = hpo.Settings(dataset="digits", limit_train=200, score="validation", limit_test=50)
    options = hpo.RunOptions(trials=1, workers=1, device="cpu")
    record = hpo.run(train="mine.py", settings=settings, options=options).record
    hpo.resume("mine", options=hpo.RunOptions(trials=2, workers=1, device="cpu"))
    for number in (0, 1):
        log = path_of(record.folder / f"trial-{number:05d}").read_text()
        assert log == "(200, 32, 32, 3) (50, 32, 32, 3) int64 10\n"
    assert record.attributes["environment"]["n_scored"] == 50
    assert record.attributes["settings"]["dataset"] == "digits"


def test_a_space_file_narrows_what_the_code_declares(here):
    (here / "mine.py").write_text(MINE)
    (here / "narrow.toml").write_text("width = 48\nlr = { type = 'float', low = 0.01, high = 0.1, default = 0.05 }\n")
    narrow = describe.of_file("mine.py").space("narrow.toml")
    assert list(narrow.varied) == ["lr"]
    assert narrow.point() == {"lr": 0.05, "width": 48, "depth": 3}
    (here / "other.toml").write_text("heads = 4\n")
    code, _, err = in_process("run", "--train", "mine.py", "--space", "other.toml")
    assert code == 2
    assert err == "error: other.toml: space 'other': there is no parameter 'heads'. Available: depth, lr, width.\n"


FUNCTION = "def train(config, data, resume):\n    yield 1\n"
NEEDED = "def train(config, data, resume): … yield hpo.Epoch(score, state=…)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "mine.py cannot be read: No such file or directory. Write FILE.py:train"),
        ("import hpo\n", f"it has no function 'train'. It needs one: {NEEDED}"),
        ("def trian(config, data, resume):\n    yield 1\n", f"no function 'train'. Did you mean 'trian'? It needs one: {NEEDED}"),
        ("def train(config, data, resume):\n    return 1\n", "train is no generator: it yields nothing."),
        ("def train(config):\n    yield 1\n", "train(config) does not take the arguments config, data, resume: too many"),
        (
            "import torch_gpu\n",
            "it cannot be imported: ModuleNotFoundError: No module named 'torch_gpu' (mine.py, line 1: import t",
        ),
        ("def train(:\n", "it cannot be imported: SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import sys\nsys.exit(3)\n", "it cannot be imported: SystemExit: 3 (mine.py, line 2: sys.exit(3))"),
        ("import os\nos._exit(3)\n", "importing it ended its process."),
        (f"space = {{}}\n{FUNCTION}", "space is a dict. Declare it by hpo.space(lr=hpo.log(1e-4, 1), …)"),
        (f"objective = 'loss'\n{FUNCTION}", 'objective is a str. Declare it by hpo.maximize("accuracy") or hpo.minimize("loss")'),
        (
            f"import hpo\nspace = hpo.space(lr=hpo.log(0, 1))\n{FUNCTION}",
            "it cannot be imported: SpaceError: low = 0 must be above 0, since log = true (mine.py, line 2: space = hpo.space(",
        ),
        (f"import hpo\nspace = hpo.space(seed=3)\n{FUNCTION}", "a parameter cannot be called 'seed'"),
        (FUNCTION, "mine.py:train declares no space. Write space = hpo.space(…) there, or name one: --space FILE.toml"),
    ],
)
def test_a_file_that_declares_nothing_of_use_is_a_sentence_before_anything_is_made(here, text, said):
    if text is not None:
        (here / "mine.py").write_text(text)
    code, _, err = in_process("run", "--train", "mine.py:train")
    assert (code, "Traceback" in err) == (2, False)
    assert said in err
    assert not (here / "studies").exists()


def test_what_a_file_prints_while_it_is_imported_disturbs_nobody(tmp_path):
    (tmp_path / "loud.py").write_text(f"print('{{}}')\nimport os\nos.system('echo hello')\n{FUNCTION}")
    assert describe.of_file(f"{tmp_path}/loud.py:train").name == "loud.py:train"


def test_train_and_objective_are_one_or_the_other(here):
    (here / "mine.py").write_text(MINE)
    with pytest.raises(UsageError, match="name one"):
        hpo.run(train="mine.py", objective=describe.of_file("mine.py"))


@pytest.mark.usefixtures("here")
def test_a_new_file_is_written_once():
    assert in_process("new", "my.py") == (0, "hpo run --train my.py:train --trials 20\n", "")
    assert in_process("new", "my.py")[::2] == (2, "error: my.py is there already. Name another file, or move it away.\n")
    assert in_process("new", "my-own.py")[0] == in_process("new", "my")[0] == 2
    assert in_process("new", "missing/my.py")[0] == 4
