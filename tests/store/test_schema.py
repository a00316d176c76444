"""What hpo declares of Optuna's schema is what the installed Optuna has."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    LogUniformDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import create_engine

from hpo.builtin.convnet import OBJECTIVE
from hpo.search_space import SearchSpace
from hpo.store import schema, tables
from hpo.store.database import locate, open_database
from hpo.store.reading import reader


@pytest.mark.parametrize("table", tables._METADATA.tables.values(), ids=str)
def test_every_table_is_optunas(table):
    theirs = models.BaseModel.metadata.tables[table.name]
    dialect = create_engine("sqlite://").dialect

    def shown(columns):
        kinds = {c.name: getattr(c.type, "enums", None) or c.type.compile(dialect) for c in columns}
        return kinds, {c.name: getattr(c.type, "name", None) for c in columns}, [c.name for c in columns if c.primary_key]

    assert shown(table.columns) == shown(sorted(theirs.columns, key=lambda c: list(table.columns.keys()).index(c.name)))


def test_versions_states_and_messages_are_optunas(tmp_path):
    storage = open_database(locate(str(tmp_path / "hpo.db")), create=True).storage
    assert storage.get_head_version() == schema.VERSION
    assert {state.name: state.value for state in TrialState} == {state.name: state.value for state in schema.State}
    assert all(schema.State[state.name] == state and hash(schema.State[state.name]) == hash(state) for state in TrialState)
    assert (models.MAX_INDEXED_STRING_LENGTH, models.NOT_FOUND_MSG) == (schema.LONGEST_NAME, schema.NOT_FOUND)


@pytest.mark.parametrize("value", [0.5, -1e300, math.inf, -math.inf, math.nan])
def test_a_value_is_stored_as_optuna_stores_it(value):
    theirs, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    assert tables.stored(value) == (theirs, kind.name)
    assert reader._number(*tables.stored(value)) == pytest.approx(value, nan_ok=True)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_distribution_is_read_as_optuna_reads_it():
    every = [
        FloatDistribution(0.1, 0.7, step=0.2),
        FloatDistribution(1e-4, 1, log=True),
        IntDistribution(1, 9, step=2),
        IntDistribution(1, 2**40, log=True),
        CategoricalDistribution([None, True, 1, 1.5, "1"]),
        LogUniformDistribution(1e-3, 1),
    ]
    for theirs in every:
        ours = schema.distribution(distribution_to_json(theirs))
        assert ours.single() == theirs.single()
        for name in ("low", "high", "log", "step", "choices"):
            assert getattr(ours, name, None) == getattr(theirs, name, None)
        assert ours.to_external_repr(1.0) == theirs.to_external_repr(1.0)
    choices = schema.distribution(distribution_to_json(every[4]))
    assert [choices.to_internal_repr(choice) for choice in (None, True, 1, 1.5, "1")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"name": "NoDistribution", "attributes": {}}',
        '{"name": "FloatDistribution", "attributes": {"low": "x", "high": 1}}',
        '{"name": "FloatDistribution", "attributes": {"low": 2, "high": 1}}',
        '{"name": "FloatDistribution", "attributes": {"low": 0, "high": 1, "log": true}}',
        '{"name": "IntDistribution", "attributes": {"low": 0, "high": Infinity}}',
        '{"name": "CategoricalDistribution", "attributes": {"choices": 5}}',
    ],
)
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises((ValueError, TypeError, LookupError, ArithmeticError)):
        schema.distribution(text)


@pytest.mark.parametrize("name", ["basic", "wide", "tutorial"])
def test_what_a_space_varies_is_the_same_in_optunas_words_and_ours(name):
    space = OBJECTIVE.space(name)
    stored = {name: schema.distribution(distribution_to_json(one)) for name, one in schema.distributions(space).items()}
    assert stored == schema.varied(space)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("low", "high", "step"), [(0.0, 0.95, 0.3), (0.1, 0.7, 0.2), (1, 10, 4), (2, 8, 3)])
def test_a_range_ends_at_its_last_step_as_optunas_does(low, high, step):
    kind = "float" if isinstance(step, float) else "int"
    key = "dropout" if kind == "float" else "filters"
    low, high, step = (low, high, step) if kind == "float" else (low * 8, high * 8, step * 8)
    given = {"type": kind, "low": low, "high": high, "step": step, "default": low}
    [ours] = schema.varied(SearchSpace.of("s", {key: given})).values()
    theirs = (optuna.distributions.FloatDistribution if kind == "float" else IntDistribution)(low, high, step=step)
    assert ours == schema.distribution(distribution_to_json(theirs))
