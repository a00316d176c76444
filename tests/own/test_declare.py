"""The words by which a file declares what it searches."""

from __future__ import annotations

import pytest

import hpo
from hpo.errors import SpaceError


@pytest.mark.parametrize(
    ("parameter", "default"),
    [
        (hpo.real(0, 1), 0.5),
        (hpo.real(0, 1, default=0.25), 0.25),
        (hpo.real(0, 1, step=0.3), 0.6),
        (hpo.log(1e-4, 1), 1e-2),
        (hpo.log(1e-4, 1, default=0.1), 0.1),
        (hpo.whole(16, 64, step=8), 40),
        (hpo.whole(1, 2), 1),
        (hpo.whole(16, 64, default=32, step=8), 32),
        (hpo.choice("batch", "group"), "batch"),
        (hpo.choice("batch", "group", default="group"), "group"),
        (hpo.fixed(3), 3),
    ],
)
def test_a_parameter_has_a_default_that_it_holds(parameter, default):
    assert parameter.default == pytest.approx(default)
    assert parameter.holds(parameter.default)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (lambda: hpo.real(1, 0), "low = 1 is above high = 0"),
        (lambda: hpo.log(0, 1), "low = 0 must be above 0"),
        (lambda: hpo.log(1, 2, default=3), "default = 3 is outside 1 to 2"),
        (lambda: hpo.whole(1, 8, default=2, step=3), "default = 2 is not a whole number of steps"),
        (lambda: hpo.whole(0.5, 2, default=1), "low"),
        (hpo.choice, "choices"),
        (lambda: hpo.choice("a", "a"), "contains a value twice"),
        (lambda: hpo.fixed([1]), "is not a finite number, a string, true or false"),
        (lambda: hpo.space(epochs=3), "a parameter cannot be called 'epochs'"),
        (lambda: hpo.space(rates=[1, 2]), "is not a finite number, a string, true or false"),
    ],
)
def test_a_parameter_that_breaks_a_rule_is_a_sentence(declared, said):
    with pytest.raises(SpaceError, match=said):
        declared()


def test_a_space_varies_ranges_and_choices_and_fixes_plain_values():
    space = hpo.space(lr=hpo.log(1e-4, 1), norm=hpo.choice("a", "b"), depth=3, flip=True, name_of="x")
    assert list(space.varied) == ["lr", "norm"]
    assert space.point() == {"lr": pytest.approx(1e-2), "norm": "a", "depth": 3, "flip": True, "name_of": "x"}


def test_a_space_in_code_and_one_in_toml_are_the_same(tmp_path):
    space = hpo.space(lr=hpo.log(1e-4, 1, default=0.1), width=hpo.whole(16, 64, default=32, step=8), depth=3)
    (tmp_path / "own.toml").write_text(space.to_toml())
    assert hpo.SearchSpace.from_toml(tmp_path / "own.toml") == space
