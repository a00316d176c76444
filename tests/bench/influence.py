"""How often the page is wrong about the influence of a parameter: known truth, searched by hpo's default and at random.

    python tests/bench/influence.py                          the table of influence.md; half an hour of one core
    python tests/bench/influence.py "only lr" --seeds 20 --methods fanova --samplers tpe

Each search is 50 trials by the real study, runner, sampler and halving (nothing is trained). A trial's
learning curve is that of a known function of its parameters, with noise of half a point per training and of 0.4 to 1.3
points per epoch. Printed for each truth, sampler and method, in per cent of the searches:

    wrong decides   a parameter without influence is said to decide
    wrong idle      a parameter with influence is said to have hardly any
    right decides   of the parameters that have influence, those said to decide
    right idle      of the others, those said to have hardly any
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pedanova

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from instant import InstantPool, new_study, run

from hpo.builtin.convnet import PRESETS, Config
from hpo.report.statistics import importance, stats
from hpo.report.summary import Summary, summarize
from hpo.search_space import SearchSpace
from hpo.store.reading.record import load

if TYPE_CHECKING:
    from collections.abc import Callable

    Said = tuple[set[str], set[str]]  # parameters said to decide, and parameters said to be idle

EPOCHS, TRIALS = 10, 50
NORMS = {"type": "categorical", "choices": ("none", "batch", "group"), "default": "batch"}
SPACE = SearchSpace.of("five", PRESETS["basic"] | {"norm": NORMS})


def lr(c: Config, best: float = -0.7) -> float:
    """Return the loss due to the rate: 8 points at its lower end, 17 at its upper end."""
    return 0.12 * (math.log10(c.lr) - best) ** 2


def filters(c: Config) -> float:
    """Return the position of the width in its range, from 0 to 1."""
    return (c.filters - 16) / 48


WORSE = {"batch": 0.0, "group": 0.03, "none": 0.08}
TRUTHS: dict[str, tuple[set[str], Callable[[Config], float]]] = {
    "only lr": ({"lr"}, lambda c: 0.85 - lr(c)),
    "nothing": (set(), lambda _: 0.8),
    "lr and filters": ({"lr", "filters"}, lambda c: 0.80 - lr(c) + 0.06 * filters(c)),
    "lr and norm": ({"lr", "norm"}, lambda c: 0.85 - lr(c) - WORSE[c.norm]),
    "lr's best by depth": ({"lr", "depth"}, lambda c: 0.85 - lr(c, -0.7 + 0.4 * (c.depth - 3))),
    "lr, and filters a little": ({"lr", "filters"}, lambda c: 0.82 - lr(c) + 0.025 * filters(c)),
    "lr's cliff": ({"lr"}, lambda c: 0.1 if c.lr > 0.8 else 0.85),
}


def search(truth: str, sampler: str, seed: int) -> Summary:
    """Search a space with known truth."""

    @functools.cache
    def path(config: Config) -> list[float]:
        rng = np.random.default_rng([seed, *repr(config).encode()])
        epoch = np.arange(1, EPOCHS + 1)
        final = TRUTHS[truth][1](config) + 0.005 * rng.normal()
        shape = (1 - 0.6 * np.exp(-epoch / 3)) / (1 - 0.6 * math.exp(-EPOCHS / 3))
        return np.clip(final * shape + rng.normal(size=EPOCHS) * (0.003 + 0.01 / epoch), 0, 1).tolist()

    pool = InstantPool(size=2, epochs=EPOCHS, curve=lambda point, epoch: path(Config(**point))[epoch - 1], checkpoints=False)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        study = new_study(Path(folder, "hpo.db"), space=SPACE, sampler=sampler, epochs=EPOCHS, seed=seed)
        run(study, TRIALS, pool)
        return summarize(load("first", study.location))


def page(summary: Summary) -> Said:
    """Judge as the page does."""
    known = summary.importance
    return {one.name for one in known if one.decides}, {one.name for one in known if one.hardly_matters}


def ped_anova(summary: Summary, *, local: bool) -> Said:
    """Judge by PED-ANOVA as the page did: permutations, corrected for several parameters; idle if a rank correlation agrees."""
    params, standing = summary.params.loc[summary.standing.index], summary.standing.to_numpy()
    chosen = ~np.isin(summary.standing.index, summary.given)  # points that the space names had no rank
    params, standing = params[chosen], standing[chosen]
    found = pedanova.importances(params, standing, summary.distributions, local=local)
    numeric = [name for name, one in summary.distributions.items() if hasattr(one, "low")]
    z = {name: stats.spearman(params[name].to_numpy(float), standing) * math.sqrt(len(standing) - 1) for name in numeric}
    related = {name for name, value in z.items() if math.erfc(abs(value) / math.sqrt(2)) <= 0.1}
    return {one.name for one in found if one.p * len(found) <= 0.05}, {one.name for one in found if one.p > 0.1} - related


def _columns(summary: Summary) -> tuple[dict[str, Any], np.ndarray]:
    rows = summary.standing.index
    bases = {name: importance._basis(summary.params.loc[rows, name], one) for name, one in summary.distributions.items()}
    return bases, stats.ranks(summary.standing.to_numpy())


def one_by_one(summary: Summary) -> Said:
    """Regress ranks on each parameter alone, with a quadratic term; p by permutation, corrected for several parameters."""
    bases, y = _columns(summary)
    rng = np.random.default_rng(0)
    orders = np.column_stack([np.arange(len(y)), *(rng.permutation(len(y)) for _ in range(400))])
    shuffled = (y - y.mean())[orders]
    p = {}
    for name, basis in bases.items():
        q = importance._own(np.ones((len(y), 1)), basis.columns)
        explained = ((q.T @ shuffled) ** 2).sum(axis=0)
        p[name] = float((1 + (explained[1:] >= explained[0]).sum()) / len(explained))
    return {name for name in p if p[name] * len(p) <= 0.05}, {name for name in p if p[name] > 0.1}


def fanova(summary: Summary, trees: int = 16, shuffles: int = 19) -> Said:
    """Judge by fANOVA: the variance of a forest's prediction over each parameter; chance is the largest of 19 permutations."""
    from sklearn.ensemble import RandomForestRegressor

    bases, y = _columns(summary)
    first = {name: basis.plain for name, basis in bases.items()}
    x = np.column_stack(list(first.values()))
    rng = np.random.default_rng(0)
    places = np.cumsum([0, *(block.shape[1] for block in first.values())])

    def shares(target: np.ndarray) -> np.ndarray:
        forest = RandomForestRegressor(trees, min_samples_leaf=2, random_state=0).fit(x, target)
        some = x[rng.integers(0, len(x), 32)]
        found = []
        for begin, end in pairwise(places):
            values = np.unique(x[:, begin:end], axis=0)
            values = values[np.linspace(0, len(values) - 1, min(8, len(values))).astype(int)]
            grid = np.repeat(some[None], len(values), axis=0)
            grid[:, :, begin:end] = values[:, None]
            found.append(forest.predict(grid.reshape(-1, x.shape[1])).reshape(len(values), -1).mean(axis=1).var())
        return np.array(found) / target.var()

    real, chance = shares(y), np.array([shares(rng.permutation(y)) for _ in range(shuffles)])
    names = np.array(list(first))
    return set(names[real > chance.max()]), set(names[real <= np.median(chance, axis=0)])


METHODS: dict[str, Callable[[Summary], Said]] = {
    "page": page,
    "ped-anova": functools.partial(ped_anova, local=True),
    "ped-anova, whole range": functools.partial(ped_anova, local=False),
    "one by one": one_by_one,
    "fanova": fanova,
}


def row(truth: str, said: list[Said]) -> str:
    """Return a method's rates for one truth, in per cent."""
    matter, others = TRUTHS[truth][0], set(SPACE.varied) - TRUTHS[truth][0]
    wrong = [np.mean([bool(s[side] & names) for s in said]) for side, names in ((0, others), (1, matter))]
    right = [np.mean([len(s[side] & names) / max(1, len(names)) for s in said]) for side, names in ((0, matter), (1, others))]
    by_name = ", ".join(f"{name} {np.mean([name in s[0] for s in said]):.0%}" for name in sorted(matter))
    return " | ".join(f"{100 * rate:.0f}" for rate in (*wrong, *right)) + f" | {by_name}"


def main() -> None:
    """Search, and print each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truths", nargs="*", default=list(TRUTHS))
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    parser.add_argument("--methods", nargs="+", default=[name for name in METHODS if name != "fanova"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    os.nice(10)
    print("| truth | sampler | method | n | wrong decides | wrong idle | right decides | right idle | decides |")
    print("|---|---|---|---|---|---|---|---|---|")
    for truth in given.truths:
        for sampler in given.samplers:
            said: dict[str, list[Said]] = {name: [] for name in given.methods}
            for seed in range(given.seeds):
                summary = search(truth, sampler, seed)
                for name, answers in said.items():
                    answers.append(METHODS[name](summary))
            for name, answers in said.items():
                print(f"| {truth} | {sampler} | {name} | {len(answers)} | {row(truth, answers)} |", flush=True)


if __name__ == "__main__":
    main()
