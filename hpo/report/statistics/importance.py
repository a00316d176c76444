"""The effect of each parameter on a trial's rank, given the others: which decide, which hardly matter, where ranks still rise.

A search concentrates all parameters at the same time, and later trials are better: so a parameter without effect correlates
with one that has an effect. Therefore ranks are regressed on all parameters (a parabola for a range, a level for each choice).
Parameters enter the model one by one, the most explanatory first, as long as the best candidate explains more than in all but a
few permutations of the residuals (Freedman and Lane, 1983; the maximum over all candidates, so that many parameters cause no
false alarm). Each parameter is then judged given the others that entered. It is said to hardly matter only if an upper bound over
its *whole* range is small; where the search stayed in one corner, the bound is large.

tests/bench/influence.md shows how often each verdict is wrong, compared with PED-ANOVA, fANOVA and regression on one parameter
at a time. SciPy and scikit-learn are not used: loading them takes longer than this computation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hpo.report.statistics import stats
from hpo.store.schema import CategoricalDistribution

if TYPE_CHECKING:
    import pandas as pd

    from hpo.store.schema import Distribution

MIN_TRIALS = 12  # trials, and also degrees of freedom, below which there is no verdict
MAX_TRIALS = 1000  # trials that are used, evenly spaced
ENTRY_LEVEL = 0.02  # probability that any parameter enters although none has an effect; higher under TPE (influence.md)
SHUFFLES = 400
RESAMPLES = 100
MIN_SHARE = 0.05  # of the differences in rank: a parameter that explains less does not decide
SMALL_SHARE = 0.1  # a parameter that explains at most this over its whole range hardly matters
SINGULAR = 1e-6  # below this, a column is a linear combination of others
BOUND_LEVEL = 0.98  # confidence level of the bound on the share
INTERACTION_LEVEL = 0.2  # below this p-value, a parameter may matter in combination with another

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """The estimated effect of one parameter.

    Attributes:
        name: The parameter.
        share: Share of the variance of ranks that it explains given the parameters that decide, minus the share expected by
            chance.
        low, high: The middle 80 % of that share over bootstrap resamples of the trials.
        decides: Whether the share is more than chance and at least `MIN_SHARE`.
        most: Upper bound (98 %) of the share if the whole range is tried. Infinite if unknown, or if the bound is small although
            the parameter has more effect than chance, alone or perhaps in combination.
        ends: For a range, the one-sided p-values that ranks still rise towards its lower and its upper end; otherwise 1.
    """

    name: str
    share: float
    low: float
    high: float
    decides: bool
    most: float
    ends: tuple[float, float] = (1.0, 1.0)

    @property
    def hardly_matters(self) -> bool:
        """Whether even the upper bound of its share is small."""
        return self.most < SMALL_SHARE


def importances(params: pd.DataFrame, values: Floats, distributions: dict[str, Distribution], seed: int = 0) -> list[Importance]:
    """Estimate the effect of every parameter that varies; those that decide come first, then by share.

    Args:
        params: One row per trial.
        values: The trials' values or ranks; more is better.
        distributions: By parameter.
        seed: For resamples and permutations, so that the same study always gives the same result.
    """
    rows = np.unique(np.linspace(0, max(0, len(values) - 1), min(len(values), MAX_TRIALS)).astype(np.int64))
    bases = {
        name: basis for name in map(str, params) if (basis := _basis(params[name].iloc[rows], distributions[name])) is not None
    }
    rank = stats.ranks(np.asarray(values, dtype=np.float64)[rows])
    if len(rows) < MIN_TRIALS or not bases or not np.ptp(rank):
        return []
    y = (rank - rank.mean()) / rank.std()
    model = _Model(bases, y, np.random.default_rng(seed))
    return sorted((model.judge(name) for name in bases), key=lambda one: (not one.decides, -one.share))


class _Basis(NamedTuple):
    """The columns of a parameter in the regression, each with mean 0 and variance 1 over the parameter's range."""

    columns: Floats  # (n trials, k)
    numeric: bool

    @property
    def plain(self) -> Floats:
        """The columns without the quadratic term."""
        return self.columns[:, :1] if self.numeric else self.columns


class _Model:
    """The regression of ranks on the parameters that entered.

    Args:
        bases: By parameter.
        y: (n,) ranks, with mean 0 and variance 1.
        rng: For permutations and resamples.
    """

    def __init__(self, bases: dict[str, _Basis], y: Floats, rng: np.random.Generator) -> None:
        n = len(y)
        self._bases, self._y = bases, y
        self._orders = np.column_stack([np.arange(n), *(rng.permutation(n) for _ in range(SHUFFLES))])
        self._weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)])
        self._normal = rng.normal(size=(n, SHUFFLES))
        entered: list[str] = []
        while (name := self._next(entered)) is not None:
            entered.append(name)
        beside = {name: self._beside([other for other in entered if other != name]) for name in entered}
        self._telling = [name for name in entered if self._chance({name: bases[name].columns}, beside[name]) <= ENTRY_LEVEL]

    def judge(self, name: str) -> Importance:
        """Estimate the effect of a parameter, given those that explain more than chance."""
        basis, tells = self._bases[name], name in self._telling
        beside = self._beside([other for other in self._telling if other != name])
        shares = _shares(beside, basis.columns, self._y, self._weights)
        low, high = np.quantile(shares[1:], [0.1, 0.9])
        most, ends = self._bounds(beside, basis)
        if most < SMALL_SHARE and (tells or self._may_matter_with_another(name, beside)):
            most = math.inf
        return Importance(name, float(shares[0]), float(low), float(high), bool(tells and shares[0] >= MIN_SHARE), most, ends)

    def _beside(self, names: list[str]) -> Floats:
        return np.column_stack([np.ones(len(self._y)), *(self._bases[name].columns for name in names)])

    def _next(self, entered: list[str]) -> str | None:
        """The most explanatory parameter that has not entered, if it explains more than chance."""
        rest = {name: basis.columns for name, basis in self._bases.items() if name not in entered}
        found = self._surprises(rest, self._beside(entered))
        if not found or _chance(list(found.values())) > ENTRY_LEVEL:
            return None
        return max(found, key=lambda name: float(found[name][0]))

    def _chance(self, candidates: dict[str, Floats], beside: Floats) -> float:
        return _chance(list(self._surprises(candidates, beside).values()))

    def _surprises(self, candidates: dict[str, Floats], beside: Floats) -> dict[str, Floats]:
        """How much each candidate explains of the residuals, normalized: first of the ranks, then of each permutation."""
        left = len(self._y) - beside.shape[1]
        if left < MIN_TRIALS:
            return {}
        residuals = _without(beside, _without(beside, self._y)[self._orders])
        residuals /= np.sqrt((residuals**2).sum(axis=0)) + 1e-300
        own = {name: _own(beside, columns) for name, columns in candidates.items()}
        return {name: _surprise(((q.T @ residuals) ** 2).sum(axis=0), q.shape[1], left) for name, q in own.items() if q.shape[1]}

    def _may_matter_with_another(self, name: str, beside: Floats) -> bool:
        """Whether products with other parameters explain more than chance usually does."""
        basis = self._bases[name]
        products = {other: _products(basis.plain, one.plain) for other, one in self._bases.items() if other != name}
        return self._chance(products, np.column_stack([beside, basis.columns])) < INTERACTION_LEVEL

    def _bounds(self, beside: Floats, basis: _Basis) -> tuple[float, tuple[float, float]]:
        """The upper bound of a parameter's share over its whole range, and the p-values that ranks rise at its ends."""
        both = np.column_stack([beside, basis.columns])
        n, k = both.shape
        q, r = np.linalg.qr(both)
        if n - k < MIN_TRIALS or np.abs(np.diag(r)).min() < SINGULAR * math.sqrt(n):
            return math.inf, (1.0, 1.0)
        spread = np.linalg.inv(r)[beside.shape[1] :]  # of the parameter's own coefficients
        coefficients = spread @ (q.T @ self._y)
        deviation = float(np.linalg.norm(_without(both, self._y))) / math.sqrt(n - k)
        draws = coefficients[:, None] + deviation * spread @ self._normal[:k]
        most = float(np.quantile((draws**2).sum(axis=0), BOUND_LEVEL))
        if not basis.numeric or not deviation:
            return most, (1.0, 1.0)
        rises = _RISES[:, : len(coefficients)]
        z = rises @ coefficients / (deviation * np.linalg.norm(rises @ spread, axis=1))
        return most, (0.5 * math.erfc(z[0] / math.sqrt(2)), 0.5 * math.erfc(z[1] / math.sqrt(2)))


def _basis(column: pd.Series, distribution: Distribution) -> _Basis | None:
    """Return a parameter's columns; None for one that is fixed, or that too few trials have.

    Where only some trials have it, its columns are 0 in the others: its effect is judged among those that have it. Whether a
    trial has it follows from another parameter, whose effect that is.
    """
    there = column.notna().to_numpy()
    if distribution.single() or (not there.all() and there.sum() < MIN_TRIALS):
        return None
    if there.all():
        return _whole_basis(column, distribution)
    part = _whole_basis(column[there], distribution)
    columns = np.zeros((len(column), part.columns.shape[1]))
    columns[there] = part.columns - part.columns.mean(axis=0)
    return _Basis(columns, part.numeric)


def _whole_basis(column: pd.Series, distribution: Distribution) -> _Basis:
    """Return the columns of a parameter that every trial has."""
    if isinstance(distribution, CategoricalDistribution):
        k = len(distribution.choices)
        contrasts = np.linalg.qr(np.column_stack([np.ones(k), np.eye(k)[:, 1:]]))[0][:, 1:] * math.sqrt(k)
        return _Basis(contrasts[[int(distribution.to_internal_repr(value)) for value in column]], numeric=False)
    values = column.to_numpy(dtype=np.float64)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        values, low, high = np.log(values), math.log(low), math.log(high)
    bent = len(np.unique(values)) > 2  # two values determine a line
    return _Basis(_parabola(2 * (values - low) / (high - low) - 1)[:, : 1 + bent], numeric=True)


def _parabola(t: Floats) -> Floats:
    """The first two Legendre polynomials, with variance 1 over -1 to 1."""
    return np.column_stack([math.sqrt(3) * t, math.sqrt(5) * (3 * t**2 - 1) / 2])


_RISES = _parabola(np.array([-1.0, 1.0])) - _parabola(np.array([-0.5, 0.5]))  # over the outer quarters, towards the ends


def _products(first: Floats, second: Floats) -> Floats:
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _without(columns: Floats, y: Floats) -> Floats:
    """The residuals of a regression on columns."""
    q = _own(np.zeros((len(columns), 0)), columns)
    return np.asarray(y - q @ (q.T @ y), dtype=np.float64)


def _own(beside: Floats, columns: Floats) -> Floats:
    """An orthonormal basis of the part of columns that is not spanned by those beside."""
    left = _without(beside, columns) if beside.shape[1] else columns
    directions, sizes, _ = np.linalg.svd(left, full_matrices=False)
    return np.asarray(directions[:, sizes > SINGULAR * math.sqrt(len(columns))], dtype=np.float64)


def _surprise(explained: Floats, k: int, left: int) -> Floats:
    """Turn shares explained by k columns into nearly normal numbers (Wilson and Hilferty, 1931), comparable over k."""
    return np.asarray((np.cbrt(left * explained / k) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k)), dtype=np.float64)


def _chance(surprises: list[Floats]) -> float:
    """The p-value: the share of permutations whose largest surprise is at least that of the ranks."""
    if not surprises:
        return 1.0
    largest = np.max(surprises, axis=0)
    return float((1 + (largest[1:] >= largest[0]).sum()) / len(largest))


def _shares(beside: Floats, columns: Floats, y: Floats, weights: Floats) -> Floats:
    """For each row of weights, the share of y's variance that columns explain given others, minus the share due to chance."""
    both, k = np.column_stack([beside, columns, y]), beside.shape[1]
    shares = np.zeros(len(weights))
    for i, weight in enumerate(weights):
        products = both.T @ (weight[:, None] * both)
        total, (less, more) = _left(products, 1), (_left(products, size) for size in (k, both.shape[1] - 1))
        chance = more * columns.shape[1] / max(1, len(y) - both.shape[1] + 1)
        shares[i] = max(0.0, less - more - chance) / max(total, SINGULAR)
    return shares


def _left(products: Floats, k: int) -> float:
    """The residual sum of squares of the last column after a regression on the first k."""
    inner, outer = products[:k, :k] + SINGULAR * np.eye(k), products[:k, -1]
    return float(products[-1, -1] - outer @ np.linalg.solve(inner, outer))
