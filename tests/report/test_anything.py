"""Whatever a study holds, it gets a page, a note and a comparison."""

import made
import optuna
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import Comparison, summarize
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from plotly.graph_objects import Figure
from test_page import block

from hpo.dashboard.note import note_of
from hpo.report.page import page

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "seconds",
    "images_per_second",
    "n_parameters",
    "macs",
    "worker",
    "reason",
    "checkpoint",
    "train_loss",
    "score_loss",
    "stints",
]
SPACE = {
    "a": FloatDistribution(-1, 1),
    "b": FloatDistribution(1e-9, 1e9, log=True),
    "c": IntDistribution(0, 6, step=2),
    "d": IntDistribution(1, 1000, log=True),
    "e": CategoricalDistribution((None, True, 1.5, "<b>", "$x$")),
    "f": FloatDistribution(3, 3),
}


@st.composite
def trials(draw):
    made_trials = []
    for i in range(draw(st.integers(0, 15))):
        state = draw(st.sampled_from(["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]))
        values = draw(st.lists(st.floats(0, 1) | st.floats(allow_nan=False), min_size=1, max_size=4))
        drawn = made.point(
            draw(st.randoms(use_true_random=False).map(lambda r: made.np.random.default_rng(r.randrange(99)))), SPACE
        )
        params = {name: drawn[name] for name in draw(st.lists(st.sampled_from(list(SPACE)), unique=True))}
        attributes = draw(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
        made_trials.append(made.trial(i, state, values, params, SPACE, **attributes))
    return made_trials


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    trials(),
    st.sampled_from(["maximize", "minimize"]),
    st.dictionaries(st.sampled_from(["settings", "space", "environment", "command", "other"]), JSON, max_size=4),
)
def test_any_study_gets_a_page(trials, direction, attributes):
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    summary = summarize(study)
    text = page(summary)
    for one in block(text, "figures"):
        Figure(data=one["data"], layout=one["layout"])
    assert note_of(summary)
    assert len(Comparison([study, study]).table()) == 2
