"""What a run looks like, on a terminal and without one."""

from __future__ import annotations

import io
import time
import types

import pytest
from rich.console import Console

from hpo.builtin.convnet import OBJECTIVE
from hpo.cli import ending, tables, views
from hpo.cli.views import PlainView
from hpo.doctor.diagnosis import Diagnosis
from hpo.messages import Epoch
from hpo.runner.board import Board, Row
from hpo.runner.session import Outcome
from hpo.search.open_trial import OpenTrial

SPACE = OBJECTIVE.space("basic")
OVER_DEFAULT = "+2.50 points over trial 0, the default point"


@pytest.fixture
def board() -> Board:
    """Two workers, one in training; trial 1 leads."""
    made = Board(
        study="first", varied=tuple(SPACE.varied), epochs=10, total=50, score=OBJECTIVE.score, best=(1, 0.9), named={0: 0.875}
    )
    made.rows = [Row(trial(4), epoch=3, fraction=0.5, score=0.61, images_per_second=1234.4), Row()]
    made.counts.update(complete=2, pruned=5, fail=1, waiting=3, running=1)
    made.tried, made.began = {1, 2, 3}, time.monotonic() - 90
    return made


def trial(number: int) -> OpenTrial:
    return OpenTrial(number, dict(SPACE.default), scores={1: 0.4, 2: 0.5})


def drawn(board: Board, width: int = 120, **options: object) -> str:
    out = Console(file=io.StringIO(), width=width, **options)  # type: ignore[arg-type]
    out.print(views.draw(board))
    return out.file.getvalue()  # type: ignore[attr-defined]


def test_the_live_table_has_a_line_a_worker_and_what_matters(board: Board) -> None:
    text = drawn(board)
    assert "depth 3  filters 32  dropout 0  lr 0.12" in text
    assert "4/10" in text
    assert "61.00%" in text
    assert "1,234" in text
    assert "waiting" in text
    assert "7 of 50 finished: 2 complete, 5 pruned, 1 failed, 3 waiting, 1 running" in text
    assert "best 90.00%, trial 1, +2.50 points over trial 0" in text
    assert "about 20 min left" in text  # 40 trials of half a minute


def test_lanes_that_are_not_used_have_no_line(board: Board) -> None:
    busy, idle = board.rows
    board.rows, board.at_once = [idle, busy, *([idle] * 6)], 3
    lines = drawn(board).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["0", "1", "2"]
    assert lines[4].startswith(" 7 of 50 finished")
    board.rows = [busy] * 4 + [idle] * 4  # from when there were more
    assert [line.split()[0] for line in drawn(board).splitlines()[1:5]] == ["0", "1", "2", "3"]
    assert "waiting\n" not in drawn(board)


def test_the_first_line_says_how_many_train_at_once_where(board: Board) -> None:
    board.where = "up to 8 at once on cuda:0"
    assert views.opening(board) == "study first: 7 of 50 trials finished, 10 epochs each at most, up to 8 at once on cuda:0"


def test_a_worker_with_sixteen_parameters_takes_two_lines_of_eighty_columns(board: Board) -> None:
    board.rows = [Row(OpenTrial(4, OBJECTIVE.space("wide").default, {1: 0.4}), epoch=1, score=0.4)]
    out = Console(file=io.StringIO(), width=80)
    out.print(views.draw(board, 80))
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "depth 3  filters 32" in lines[1]
    assert "0  lr 0.08  … 12 more" in lines[2]
    assert lines[3].startswith(" 7 of 50 finished")


@pytest.mark.parametrize(
    ("best", "named", "said"),
    [
        (None, {}, "no trial complete yet"),
        ((0, 0.875), {0: 0.875}, "best 87.50%, trial 0 (the default point)"),
        ((0, 0.875), {0: 0.875, 1: 0.8}, "best 87.50%, trial 0 (the default point)"),
        ((4, 0.9), {}, "best 90.00%, trial 4"),
        ((4, 0.9), {0: 0.875}, f"best 90.00%, trial 4, {OVER_DEFAULT}"),
        ((4, 0.9), {0: 0.875, 1: 0.8}, f"best 90.00%, trial 4, {OVER_DEFAULT}"),
        (
            (4, 0.9),
            {0: 0.875, 1: 0.89, 2: 0.88},
            f"best 90.00%, trial 4, {OVER_DEFAULT}, and +1.00 points over trial 1, the best starting point of the space",
        ),
        ((4, 0.9), {1: 0.89}, "best 90.00%, trial 4, +1.00 points over trial 1, the best starting point of the space"),
        (
            (1, 0.89),
            {0: 0.875, 1: 0.89, 2: 0.88},
            "best 89.00%, trial 1 (a starting point of the space), +1.50 points over trial 0, the default point",
        ),
    ],
)
def test_the_best_is_compared_with_the_points_that_the_space_names(board: Board, best, named, said) -> None:
    board.best, board.named = best, named
    assert views.standing(board) == said


@pytest.mark.parametrize("width", [20, 40, 80, 1000])
def test_the_live_table_fits_any_terminal(board: Board, width: int) -> None:
    assert max(len(line) for line in drawn(board, width).splitlines()) <= width


def test_no_estimate_is_given_before_three_trials_ended(board: Board) -> None:
    board.tried = {1, 2}
    assert "known after three trials" in drawn(board)


def test_a_timeout_bounds_the_estimate(board: Board) -> None:
    board.timeout = 690
    assert "about 10 min left" in drawn(board)


def test_an_ending_run_says_why_and_what_a_second_ctrl_c_does(board: Board) -> None:
    board.stopping = "interrupted"
    text = drawn(board)
    assert "interrupted: workers finish their epoch" in text
    assert "Press Ctrl-C again to stop immediately" in text


@pytest.mark.parametrize(
    ("images_per_second", "grace", "said"),
    [
        (0.0, None, "workers finish their epoch."),
        (500.0, None, "workers finish their epoch, about 54 s."),  # half of 50,000 images, and four seconds of scoring
        (500.0, 60, "workers finish their epoch, about 54 s."),
        (50.0, 60, "workers have 60 s to finish their epoch, which takes about 8 min."),
        (0.0, 60, "workers have 60 s to finish their epoch."),
    ],
)
def test_an_ending_run_says_how_long_the_epochs_will_take(board: Board, images_per_second, grace, said) -> None:
    board.stop("terminated")
    board.n_train, board.grace = 50_000, grace
    board.rows[0].images_per_second, board.rows[0].scoring = images_per_second, 4.0
    assert f"terminated: {said}" in drawn(board)


def test_without_a_terminal_there_is_a_plain_line_a_trial(board: Board) -> None:
    out = io.StringIO()
    view = PlainView(Console(file=out, width=60, highlight=False, markup=False))
    view.preparing("decoding images", 1, 2)
    view.preparing("waiting for another hpo", 0, 0)  # another worker
    view.preparing("decoding images", 2, 2)
    view.opened(board)
    pruned = trial(5)
    pruned.attributes["reason"] = "stopped by [bold]"
    view.ended(board, pruned, "pruned")
    board.stopping = "timeout"
    view.changed(board)
    view.changed(board)
    lines = [line[10:] for line in out.getvalue().splitlines()]
    assert lines[:2] == ["decoding images …", "waiting for another hpo …"]
    assert lines[2] == "study first: 7 of 50 trials finished, 10 epochs each at most, 2 workers"
    assert lines[3].startswith("trial 5 pruned 50.00%  depth 3")
    assert "(stopped by [bold])" in lines[3]
    assert lines[4:] == ["timeout: workers finish their epoch; nothing is lost"]


def test_a_trial_that_waits_and_is_pruned_in_the_same_moment_is_one_line(board: Board) -> None:
    out = io.StringIO()
    view = PlainView(Console(file=out, width=300))
    view.waits(board, trial(5))
    view.changed(board)
    view.ended(board, trial(5), "pruned")
    view.waits(board, trial(6))
    view.ended(board, trial(7), "complete")
    view.waits(board, trial(8))
    view.closing(board)
    said = [line[10:].split(" 50.00%")[0] for line in out.getvalue().splitlines()]
    assert said == ["trial 5 pruned", "trial 6 waits after epoch 2", "trial 7 complete", "trial 8 waits after epoch 2"]


def test_of_many_parameters_a_line_has_the_first_and_says_how_many_more() -> None:
    wide = OBJECTIVE.space("wide").default
    assert views.parameters(SPACE.default) == "depth 3  filters 32  dropout 0  lr 0.12"
    assert views.parameters(wide).endswith(f"  … {len(wide) - 6} more")
    assert len(views.parameters(wide)) < 90


@pytest.mark.parametrize(
    ("reason", "total", "idle", "said"),
    [
        ("total", 10, False, "finished: 10 of 10 trials (2 complete, 8 pruned)"),
        ("total", 10, True, "nothing to do; finished: 10 of 10 trials (2 complete, 8 pruned)"),
        ("total", 3, True, "nothing to do; 10 trials are finished and 3 were requested (2 complete, 8 pruned)"),
        ("timeout", 50, False, "timeout; 10 of 50 trials finished (2 complete, 8 pruned)"),
    ],
)
def test_how_a_run_ended_is_one_line(reason: str, total: int, idle: bool, said: str) -> None:
    record = types.SimpleNamespace(n_finished=10, counts={"complete": 2, "pruned": 8})
    assert ending.ending(Outcome(record, reason, total, idle)) == said  # type: ignore[arg-type]


def test_the_doctor_says_first_what_is_wrong_and_last_how_much(capsys) -> None:
    found = [Diagnosis("a", "ok", "fine."), Diagnosis("b", "note", "look."), Diagnosis("c", "bad", "gone.", "mend")]
    tables.show_findings(found, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["bad", "→", "note", "ok", "1"]
    assert " ".join(lines[-1]) == "1 bad, 1 to note, 1 ok."


@pytest.mark.parametrize(("verbose", "seconds", "said"), [(False, 1.0, False), (True, 1.0, True), (False, 60.0, True)])
def test_without_a_terminal_long_epochs_are_told_and_short_ones_on_request(
    board: Board, verbose: bool, seconds: float, said: bool
) -> None:
    out = io.StringIO()
    view = PlainView(Console(file=out), verbose=verbose)
    done = Epoch(3, 0.5, seconds, 100)
    view.epoch(board, trial(4), done)
    assert ("trial 4 epoch 3/10: 50.00%, 100 images/s" in out.getvalue()) == said


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (11_100, "3 h 05 min")]
)
def test_spans_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert views.span(seconds) == text
