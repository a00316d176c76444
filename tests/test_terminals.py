"""The whole program on streams and terminals of every kind, and under signals: no traceback, the exit status of the contract."""

import random
import re
import shutil
import signal
import time

import psutil
import pytest
from hostile import in_process
from instant import new_study, run
from running import DIGITS, Hpo, left_over
from survival import uses

from hpo.cli.main import main

RUN = ("--trials", 2, "--epochs", 12, "--space", "short.toml", "--workers", 1, "-v", *DIGITS)
ONE_AFTER_THE_OTHER = """
import sys
from hpo.cli.main import main

for command in sys.argv[1:]:
    sys.argv[1:] = command.split()
    assert main() == 0, command
"""
ESCAPE = re.compile(r"\x1b[^a-zA-Z]*[a-zA-Z]")


@pytest.fixture(scope="module")
def hpo(tmp_path_factory, cache):
    program = Hpo(tmp_path_factory.mktemp("terminals"), cache)
    run(new_study(program.folder / "studies" / "hpo.db"), 12)
    yield program
    program.close()


# -- standard output and standard error ----------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["true", "head -c 10 > /dev/null"])
@pytest.mark.parametrize("command", ["trials first", "space wide --toml", "--help"])  # by rich, by print, by Typer
def test_a_reader_that_goes_away_ends_a_command_quietly(hpo, command, reader):
    done = hpo.shell(f"hpo {command} | {reader}; echo ${{PIPESTATUS[0]}}")
    assert done.stdout in ("141\n", "0\n")
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["trials first", "space wide --toml", "run --help"])
def test_an_output_that_is_full_is_a_sentence_and_exit_code_4(hpo, command):
    done = hpo.shell(f"hpo {command} > /dev/full")
    assert done.returncode == 4
    assert done.stderr == "error: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_closed_streams_and_a_full_standard_error_are_no_failure(hpo, closed):
    done = hpo.shell(f"hpo trials first {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (">&-" in closed.split()) == (done.stdout == "")


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["2> >(head -1 > /dev/null)", "2>&-", "2>/dev/full", "> /dev/null 2>&1 < /dev/null"])
def test_a_run_goes_on_when_nobody_listens_any_more(hpo, lost):
    name = f"unheard-{re.sub(r'[^a-z0-9]+', '-', lost)}"
    done = hpo.shell(f"hpo run {name} {' '.join(map(str, RUN))} --epochs 3 {lost}")
    assert done.returncode == 0, done.stderr
    assert hpo.study(name).n_finished == 2


# -- terminals and languages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "unknown"}], ids=str)
def test_terminals_without_colour_get_none(hpo, environment):
    code, got = hpo.on_terminal("trials", "first", **environment)
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", got)
    if environment.get("TERM") == "dumb":
        assert "\x1b" not in got


@pytest.mark.parametrize("columns", [20, 1000])
def test_any_width_is_kept(hpo, columns):
    code, got = hpo.on_terminal("trials", "first", columns=columns)
    assert code == 0
    assert widest(got) <= columns


@pytest.mark.parametrize("columns", [20, 1000])
@pytest.mark.parametrize("command", ["list", "show first", "trials first", "space", "doctor"])
def test_every_table_fits_any_width(hpo, command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    storage = () if command == "space" else ("--storage", hpo.folder / "studies" / "hpo.db")
    code, got, _ = in_process(*command.split(), *storage)
    assert code == 0
    assert widest(got) <= columns


def widest(text):
    return max(len(line) for line in ESCAPE.sub("", text).splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 1000])
def test_a_live_run_fits_any_terminal_and_leaves_the_cursor_visible(hpo, columns):
    code, got = hpo.on_terminal("run", f"wide-{columns}", *RUN, "--epochs", 2, columns=columns)
    assert code == 0
    assert "Traceback" not in got
    assert got.rfind("\x1b[?25h") > got.rfind("\x1b[?25l") > -1
    assert hpo.study(f"wide-{columns}").n_finished == 2


@pytest.mark.parametrize(
    "environment",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
def test_a_language_without_our_letters_is_no_failure(hpo, environment):
    program = hpo.start_python("-c", ONE_AFTER_THE_OTHER, "doctor", "run --help", "space wide", "show first", **environment)
    assert program.ended() == 0, program.err
    assert re.fullmatch(r"(The winner was chosen on .*\n.*\n)?", program.err)
    for said in ("running trials", "Total number of finished", "weight_decay", "best: trial "):
        assert said in program.out


# -- signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str)
def test_a_signal_ends_after_the_epoch_with_the_shells_status_and_the_run_goes_on_another_time(hpo, number, code):
    name = f"one-{number}"
    program = hpo.start("run", name, *RUN).says("trial 0 epoch 2/12")
    workers = program.children()
    program.signal(number)
    assert program.ended(seconds=60) == code
    assert left_over(workers, seconds=0) == []
    assert "Traceback" not in program.err
    assert [trial.state.name for trial in hpo.study(name).trials] == ["RUNNING"]
    again = hpo("resume", name, "--workers", 1, "-v", "--no-report")
    assert again.ended() == 0
    assert "trial 0 epoch 2/12" not in again.err


@pytest.mark.slow
def test_a_burst_of_signals_ends_at_once_without_a_trace(hpo):
    program = hpo.start("run", "burst", *RUN).says("trial 0 epoch 2/12")
    workers = program.children()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) * 5:
        program.signal(number)
    assert program.ended(seconds=20) % 256 in (
        129,
        130,
        143,
        255,
        254,
        241,
    )  # the last three: by a signal, which a shell adds to 128
    assert left_over(workers, seconds=5) == []
    assert "Traceback" not in program.err
    assert [trial.state.name for trial in hpo.study("burst").trials] == ["RUNNING"]


@pytest.mark.slow
def test_what_nohup_ignores_stays_ignored(hpo):
    program = hpo.start("run", "nohup", *RUN, signals=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    program.says("trial 0 epoch 2/12").signal(signal.SIGHUP)
    assert program.ended() == 0
    assert hpo.study("nohup").n_finished == 2


@pytest.mark.parametrize("moment", [0.05, 0.1, 0.15, 0.3, 0.6, 1.0])
def test_ctrl_c_during_the_start_ends_without_a_traceback(hpo, moment):
    program = hpo.start("run", f"early-{moment}", *RUN)
    assert uses(program, moment)  # seconds of CPU: on a busy machine those of the clock are over before Python has begun
    program.signal(signal.SIGINT)
    code = program.ended(seconds=20)
    before_hpo = "site.py" in program.err or "runpy" in program.err  # Python itself, which passes over it or ends with 1
    assert code in (130, -signal.SIGINT) or before_hpo, (code, program.err)
    assert "Traceback" not in program.err.partition("site.py")[0]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_signals_at_two_hundred_random_moments_leave_no_trace_and_no_process(hpo):
    luck = random.Random(0)
    for attempt in range(200):
        if luck.random() < 0.6:
            program, longest = hpo.start("run", f"random-{attempt}", *RUN, "--epochs", 3), 6
        else:
            program, longest = hpo.start("report", "first", "--out", "page.html"), 1.5
        time.sleep(luck.uniform(0, longest))
        workers = psutil.Process(program.process.pid).children() if program.process.poll() is None else []
        for _ in range(luck.choice((1, 1, 2, 10))):
            program.signal(luck.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
            time.sleep(luck.choice((0, 0.001, 0.01, 0.2)))
        assert program.ended(seconds=60) in (0, 129, 130, 143, -1, -2, -15), program.err
        assert left_over(workers, seconds=5) == []
        assert "Traceback" not in program.err.partition("site.py")[0], program.err
        assert "Exception ignored" not in program.err


@pytest.mark.slow
def test_a_database_that_is_gone_in_the_middle_of_a_run_is_a_sentence(hpo):
    words = ("run", "gone", *RUN, "--storage", "gone/hpo.db")
    program = hpo.start(*words).says("trial 0 epoch 2/12")
    shutil.rmtree(hpo.folder / "gone")
    assert program.ended(seconds=60) == 4
    assert "Traceback" not in program.err


def test_an_unknown_command_line_on_a_terminal_is_a_line_on_standard_error(capsys):
    assert main(["lst"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
