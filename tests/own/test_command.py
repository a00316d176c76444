"""Any program is searched: its words have places for parameters, its lines of JSON are epochs."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from hostile import in_process
from watchers import Interrupted

import hpo
from hpo.errors import SpaceError, UsageError
from hpo.messages import Epoch
from hpo.own.command import of_command
from hpo.own.log import path_of
from hpo.own.program import Trial
from hpo.scoring.score import PLAIN

PROGRAM = """
import json, pathlib, sys
lr, width, epochs, folder = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""
kept = pathlib.Path(folder, "state.json") if folder else None
done, loss = json.loads(kept.read_text()) if kept and kept.exists() else (0, 5.0)
print("begin", lr, width, done)
for epoch in range(done + 1, epochs + 1):
    loss = 0.6 * loss + abs(lr - 0.02) + abs(width - 48) / 100
    if kept:
        kept.write_text(json.dumps([epoch, loss]))
    print(json.dumps({"epoch": epoch, "loss": loss, "rate": lr, "note": "x"}), flush=True)
"""
SPACE = """
lr = { type = "float", low = 1e-4, high = 1.0, log = true, default = 0.1 }
width = { type = "int", low = 16, high = 64, default = 32, step = 8 }
"""
PYTHON = shlex.quote(sys.executable)
WORDS = f"{PYTHON} train.py {{lr}} {{width}} {{epochs}}"
PAUSED = WORDS + " {checkpoint}"
MINIMIZE = hpo.minimize("loss")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "own.toml").write_text(SPACE)
    return tmp_path


def run(command=PAUSED, study=None, trials=9, score=MINIMIZE, watcher=None, **settings):
    options = hpo.RunOptions(trials=trials, workers=1, device="cpu")
    given = hpo.Settings(**{"epochs": 10} | settings)
    return hpo.run(study, command=command, space="own.toml", score=score, settings=given, options=options, watcher=watcher)


def logs(record):
    return [path_of(record.folder / f"trial-{trial.number:05d}").read_text() for trial in record.own]


@pytest.mark.usefixtures("here")
def test_a_program_is_searched_paused_and_continued():
    record = run().record
    assert record.name == "train"
    assert record.counts["complete"] + record.counts["pruned"] == 9
    assert record.counts["pruned"] >= 4
    assert record.best.value == min(trial.value for trial in record.own if trial.state.name == "COMPLETE")
    assert record.best.user_attrs["rate"] == [pytest.approx(record.best.params["lr"])] * 10
    assert record.best.intermediate_values.keys() == set(range(1, 11))
    assert logs(record)[0] == "begin 0.1 32 0\n"
    assert record.checkpoint.exists()
    assert "torch" not in record.attributes["environment"]


@pytest.mark.usefixtures("here")
def test_one_that_keeps_nothing_is_stopped_and_never_started_twice():
    record = run(WORDS, trials=12).record
    assert record.counts["pruned"] >= 4
    assert [log.count("begin") for log in logs(record)] == [1] * 12


@pytest.mark.usefixtures("here")
def test_an_interrupted_one_goes_on_from_its_folder_and_is_named_again():
    with pytest.raises(KeyboardInterrupt):
        run(watcher=Interrupted())
    with pytest.raises(UsageError, match=r"none is run because a database says so. Name it again: hpo run train --command '.*lr"):
        hpo.resume("train")
    interrupted, undisturbed = run().record, run(study="again").record
    assert [t.intermediate_values for t in interrupted.trials] == [t.intermediate_values for t in undisturbed.trials]
    for again in (hpo.finalists, hpo.reproduce):
        with pytest.raises(UsageError, match=rf"Name it again: hpo {again.__name__} train --command '[^']*lr[^']*'$"):
            again("train")


def begun(folder, said, heard=0, history=()):
    """Return a trial of 3 epochs that an earlier process has begun: the program said something, of which some was heard."""
    trial = folder / "trial-00000"
    trial.mkdir()
    (trial / "output").write_text(said)
    (trial / "epochs.json").write_text(json.dumps([heard, history]))
    words = json.dumps({"epoch": 3, "loss": 0.3})
    (folder / "more.py").write_text(f"print({words!r})\nopen('started', 'a').write('x')")
    return Trial([sys.executable, "more.py", "{checkpoint}"], "loss", {"epochs": 3}, trial)


LINES = ['{"epoch": 1, "loss": 0.1}\n', '{"epoch": 2, "loss": 0.2}\n', '{"epoch": 3, "loss": 0.3}\n']


def test_a_program_that_had_said_all_its_epochs_is_not_started_again(here):
    history = [Epoch(1, 0.1, 1.0)]
    trial = begun(here, "".join(LINES), len(LINES[0]), history)
    assert [(epoch.number, epoch.score) for epoch in trial.epochs(lambda *_: None)] == [(2, 0.2), (3, 0.3)]
    assert not (here / "started").exists()


def test_half_a_line_of_a_program_that_was_killed_spoils_no_other_line(here):
    trial = begun(here, LINES[0] + LINES[1] + LINES[2][:9], len(LINES[0]), [Epoch(1, 0.1, 1.0)])
    assert [(epoch.number, epoch.score) for epoch in trial.epochs(lambda *_: None)] == [(2, 0.2), (3, 0.3)]
    assert (here / "started").read_text() == "x"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (
            "import sys; print('{\"epoch\": 1, \"loss\": 1}'); sys.exit('out of luck')",
            "the program ended with code 1: out of luck",
        ),
        ("import os; os.kill(os.getpid(), 9)", "the program was ended by SIGKILL."),
        ("print('hello')", 'the program ended without an epoch: it should print {"epoch": 1, "loss": 0.5}.'),
        ('print(\'{"epoch": 3, "loss": 1}\')', 'after epoch 0 came {"epoch": 3, "loss": 1}'),
        ("print('{\"loss\": NaN}')", "the loss of epoch 1 is nan."),
        ('print(\'{"loss": "low"}\')', 'after epoch 0 came {"loss": "low"}'),
    ],
)
def test_a_program_that_fails_fails_its_trial_with_its_last_words(here, program, reason):
    (here / "train.py").write_text(program)
    assert run(trials=1).record.trials[0].user_attrs["reason"] == reason


def test_fewer_epochs_and_no_numbers_of_epochs_are_enough(here):
    (here / "train.py").write_text("print('{\"loss\": 2}'); print('[1]'); print('{\"loss\": 1.5, \"seconds\": 7}')")
    record = run(trials=1).record
    assert (record.best.value, record.best.intermediate_values) == (1.5, {1: 2.0, 2: 1.5})
    assert record.best.user_attrs["seconds"] >= 7


def test_a_value_is_one_word_whatever_it_contains(here):
    (here / "own.toml").write_text('lr = { choices = ["a b; touch x", "$(touch y)"], default = "a b; touch x" }\nwidth = 3\n')
    (here / "train.py").write_text("import sys, json; print(sys.argv[1:]); print(json.dumps({'loss': 1}))")
    record = run(f"{PYTHON} train.py {{lr}} --w={{width}} {{{{}}}}", trials=1).record
    assert logs(record)[0] == "['a b; touch x', '--w=3', '{}']\n"
    assert sorted(path.name for path in here.glob("[xy]")) == []


@pytest.mark.slow
def test_a_program_that_never_ends_is_ended_with_its_trial_and_with_its_worker(here):
    (here / "train.py").write_text(
        "import json, os, pathlib, subprocess, sys, time\n"
        "pathlib.Path('pids').open('a').write(f'{os.getpid()}\\n')\n"
        "for epoch in range(10**6):\n    print(json.dumps({'loss': 1}), flush=True); time.sleep(0.01)\n"
    )
    run(WORDS, trials=2)
    pids = [int(pid) for pid in (here / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends a child with its parent on Linux alone")
def test_a_program_dies_with_its_worker(here):
    (here / "train.py").write_text(
        "import json, os, pathlib, time\npathlib.Path('pids').open('a').write(f'{os.getpid()} {os.getppid()}\\n')\n"
        "print(json.dumps({'loss': 1}), flush=True); time.sleep(3 if len(open('pids').readlines()) == 1 else 0)\n"
    )

    class Killer(hpo.Watcher):
        def epoch(self, *_):
            if not hasattr(self, "killed"):
                self.killed, worker = map(int, (here / "pids").read_text().split())
                os.kill(worker, signal.SIGKILL)

    killer = Killer()
    record = run(WORDS, trials=1, watcher=killer).record
    assert record.counts["complete"] == 1
    assert not is_alive(killer.killed)


def is_alive(pid):
    for _ in range(50):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if sys.platform == "linux" else "?"
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state == "Z":  # dead, and nobody has asked for its code
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "--command is empty"),
        ("'unclosed", "--command cannot be cut into words: No closing quotation"),
        ("no-such-program {lr} {width}", "there is no program 'no-such-program'"),
        ("{lr} {width}", "there is no program '{lr}'"),
        (f"{PYTHON} x {{lr}}", "--command has no place {width}, and space 'own' varies 'width'."),
        (f"{PYTHON} x {{lr}} {{widht}} {{width}}", "space 'own' has no parameter 'widht'. Did you mean 'width'?"),
        (f"{PYTHON} x {{lr}} {{width", "--command: expected '}' before end of string."),
        (f"{PYTHON} x {{lr}} {{width}} {{}}", "--command: {} names no parameter. Write {{ and }} for braces themselves."),
        (f"{PYTHON} x {{lr}} {{width.__class__}}", "--command: {width.__class__} names no parameter."),
    ],
)
def test_a_command_that_cannot_be_run_is_a_sentence_before_anything_is_made(here, command, said):
    with pytest.raises((UsageError, SpaceError)) as raised:
        of_command(command, PLAIN, "own.toml")
    assert said in str(raised.value)
    code, _, err = in_process("run", "--command", command, "--space", "own.toml")
    assert (code, said in err) == (2, True)
    assert not (here / "studies").exists()


@pytest.mark.usefixtures("here")
def test_options_that_contradict_are_refused():
    assert in_process("run", "--command", WORDS)[0] == 2  # no space
    assert in_process("run", "--minimize", "loss")[0] == 2
    assert in_process("run", "--command", WORDS, "--minimize", "a", "--maximize", "b", "--space", "own.toml")[0] == 2
    assert in_process("run", "--command", WORDS, "--train", "mine.py", "--space", "own.toml")[0] == 2
