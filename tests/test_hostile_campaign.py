"""The short forms of hostile_campaign.py: mutated databases, odd attributes and crafted files of a winner."""

from __future__ import annotations

import pytest
from hostile_campaign import Ground, attributes, databases, winners


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path / "ground")


@pytest.mark.parametrize(
    ("n_databases", "n_attributes", "n_winners"),
    [
        (5, 3, 3),
        pytest.param(60, 60, 33, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(500, 60, 33, marks=[pytest.mark.long, pytest.mark.timeout(7200)]),
    ],
)
def test_no_command_ends_in_a_traceback_hangs_or_touches_what_is_not_the_studys(ground, n_databases, n_attributes, n_winners):
    databases(ground, n_databases)
    attributes(ground, n_attributes)
    winners(ground, n_winners)
    assert ground.faults == []
    assert ground.codes.total() == 2 * n_databases + 3 * n_attributes + 2 * n_winners
