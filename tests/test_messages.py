"""The two sides understand every message of each other, and refuse everything else in one way."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpo.builtin.convnet import OBJECTIVE
from hpo.messages import (
    CannotWork,
    Epoch,
    EpochDone,
    Job,
    Progress,
    Ready,
    Setup,
    Started,
    Tick,
    TrialDone,
    TrialFailed,
    Verdict,
    read_job_side,
    read_worker_side,
)
from hpo.settings import Settings

MEASURED = ("score", "images_per_second", "seconds")

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50).map(Path)
numbers = st.floats(allow_nan=False)  # a loss may be infinite
counts = st.integers(0, 2**63)
json_values = st.recursive(
    st.none() | st.booleans() | counts | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
points = st.sampled_from([OBJECTIVE.space(name).point() for name in ("basic", "wide", "tutorial")])
settings = st.builds(
    Settings, epochs=st.integers(1, 10_000), seed=st.integers(0, 2**63 - 1), limit_train=st.none() | st.just(500)
)
epochs = st.builds(Epoch, number=counts, **dict.fromkeys(MEASURED, numbers), metrics=st.dictionaries(words, numbers))

TO_WORKER = st.one_of(
    st.builds(Setup, settings=settings, objective=words, recipe=counts, data_dir=paths, device=words, memory=counts),
    st.builds(Job, trial=counts, point=points, folder=paths, seed=counts),
    st.builds(Verdict, trial=counts, go_on=st.booleans()),
)
FROM_WORKER = st.one_of(
    st.builds(Progress, what=words, done=counts, total=counts),
    st.builds(Ready, environment=st.dictionaries(words, json_values, max_size=4)),
    st.builds(CannotWork, error=words, message=words),
    st.builds(EpochDone, trial=counts, epoch=epochs),
    st.builds(
        Started,
        trial=counts,
        measured=st.just({"n_parameters": 1000, "macs": 2.5}),
        epochs=st.lists(epochs, max_size=3).map(tuple),
    ),
    st.builds(Tick, trial=counts, epoch=counts, fraction=numbers, images_per_second=numbers),
    st.builds(TrialDone, trial=counts, checkpoint=paths),
    st.builds(TrialFailed, trial=counts, cause=words, reason=words),
)


@given(TO_WORKER)
def test_a_worker_reads_what_a_runner_wrote(message):
    assert read_job_side(message.line()) == message


@given(FROM_WORKER)
def test_a_runner_reads_what_a_worker_wrote(message):
    assert read_worker_side(message.line()) == message


@given(TO_WORKER | FROM_WORKER)
def test_a_message_is_one_line(message):
    line = message.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_a_loss_that_is_not_a_number_arrives():
    message = EpochDone(trial=0, epoch=Epoch(1, math.nan, 1.0, metrics={"train_loss": math.nan}))
    assert math.isnan(read_worker_side(message.line()).epoch.metrics["train_loss"])


@pytest.mark.parametrize("read", [read_job_side, read_worker_side])
class TestGarbage:
    @given(line=st.binary(max_size=100))
    def test_any_other_line_is_a_validation_error(self, read, line):
        with pytest.raises(ValidationError):
            read(line)

    @given(value=json_values | st.dictionaries(st.sampled_from(["kind", "trial", "epoch"]), st.just("job") | json_values))
    def test_any_other_json_is_a_validation_error(self, read, value):
        with pytest.raises(ValidationError):
            read(json.dumps(value).encode())

    @pytest.mark.parametrize(
        "line",
        [
            b"[" * 100_000,
            b'{"kind": "verdict", "trial": ' + b"9" * 5000 + b', "go_on": true',
            b'{"kind": "verdict", "trial": 1, "go_on": true, "more": 1}',
            b'{"kind": "tick", "trial": 1, "epoch": 1, "fraction": null, "images_per_second": 1}',
            b'{"kind": "ready"}\n{"kind": "ready"}',
        ],
    )
    def test_a_line_that_is_almost_a_message_is_a_validation_error(self, read, line):
        with pytest.raises(ValidationError):
            read(line)


def test_a_sentence_about_a_file_whose_name_is_not_utf_8_arrives():
    said = CannotWork(error="DataError", message="caf\udce9 cannot be read")
    assert read_worker_side(said.line()) == said
    assert said.message == "caf\\udce9 cannot be read"
