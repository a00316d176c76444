"""Errors end the program with the codes of the contract, and hints name what is near."""

from __future__ import annotations

import pytest

from hpo import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.HpoError, 1),
        (errors.UsageError, 2),
        (errors.SpaceError, 2),
        (errors.DataError, 3),
        (errors.DeviceError, 3),
        (errors.StorageError, 4),
        (errors.StudyLockedError, 4),
        (errors.NoResultError, 5),
    ],
)
def test_each_error_ends_the_program_with_its_code(error, code):
    assert error.exit_code == code
    assert issubclass(error, errors.HpoError)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = {name for name in errors.__doc__.split() if name.endswith("Error")}
    there = {name for name in vars(errors) if name.endswith("Error")}
    assert drawn == there


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tpee", " Did you mean 'tpe'?"),
        ("halfing", " Available: gp, qmc, random, tpe."),
        ("", " Available: gp, qmc, random, tpe."),
    ],
)
def test_a_near_miss_is_named_and_else_all_there_is(name, hint):
    assert errors.nearest(name, ("tpe", "gp", "random", "qmc")) == hint
