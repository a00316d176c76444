"""What each parameter does to a trial's rank, beside the others: who decides, who hardly matters, and where it still rises.

A search concentrates its parameters together, and the later trials are the better ones: a parameter that does nothing then looks
good beside one that does. So ranks are regressed on the parameters (a parabola for a range, a level for each choice). Parameters
enter the model one by one, the most telling first, while the best of those left explains more than in all but a few permutations
of what is left (Freedman and Lane, 1983; the largest of all, so that many parameters raise no false alarm). Each is then judged
beside the others that entered. That a parameter hardly matters is said only where an upper bound over its *whole* range is small:
where the search stayed in one corner, the bound is large.

tests/bench/influence.md tells how often each of this is wrong, beside PED-ANOVA, fANOVA and regression one by one. No SciPy and
no scikit-learn: loading them takes longer than all of this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution

from hpo.report import stats

if TYPE_CHECKING:
    import pandas as pd

    from hpo.store.trials import Distribution

FEWEST = 12  # trials, and trials more than coefficients, below which nothing is said
MOST = 1000  # trials that are looked at, evenly spaced
LEVEL = 0.02  # chance that any parameter enters a model in which none belongs; a search by TPE makes it more (influence.md)
SHUFFLES = 400
RESAMPLES = 100
LEAST = 0.05  # of the differences in rank: a parameter that explains less does not decide
SMALL = 0.1  # a parameter that cannot explain more over its whole range hardly matters
TINY = 1e-6  # below this a column is a sum of others
SURE = 0.98  # of the bound on what a parameter explains
DOUBT = 0.2  # below this chance, a parameter may matter together with another

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """What is known of one parameter.

    Attributes:
        name: The parameter.
        share: Part of the variance of ranks that it explains beside the parameters that decide, less what chance explains.
        low, high: The middle 80 % of that share over bootstrap resamples of the trials.
        decides: Whether it explains more than chance does, and a part worth naming.
        most: What it explains at most if all of its range is tried (98 % bound, of the variance of ranks); infinite where that is
            unknown, and where it would be small but the parameter tells more than chance, alone or perhaps with another.
        ends: For a range the one-sided p-values that ranks still rise towards its lower and its upper end; else 1.
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
        """Whether all that it could explain is little."""
        return self.most < SMALL


def importances(params: pd.DataFrame, values: Floats, distributions: dict[str, Distribution], seed: int = 0) -> list[Importance]:
    """Return what is known of every parameter that varies, the largest share first.

    Args:
        params: One row per trial.
        values: Their values or ranks, more is better.
        distributions: Of the parameters.
        seed: Of resamples and permutations, so that the same study says the same.
    """
    rows = np.unique(np.linspace(0, max(0, len(values) - 1), min(len(values), MOST)).astype(np.int64))
    bases = {
        name: basis for name in map(str, params) if (basis := _basis(params[name].iloc[rows], distributions[name])) is not None
    }
    rank = stats.ranks(np.asarray(values, dtype=np.float64)[rows])
    if len(rows) < FEWEST or not bases or not np.ptp(rank):
        return []
    y = (rank - rank.mean()) / rank.std()
    model = _Model(bases, y, np.random.default_rng(seed))
    return sorted((model.judge(name) for name in bases), key=lambda one: (not one.decides, -one.share))


class _Basis(NamedTuple):
    """A parameter as columns of a regression, each of mean 0 and variance 1 over the parameter's range."""

    columns: Floats  # (n trials, k)
    numeric: bool

    @property
    def plain(self) -> Floats:
        """The columns without the bend."""
        return self.columns[:, :1] if self.numeric else self.columns


class _Model:
    """The regression of ranks on the parameters that enter.

    Args:
        bases: By parameter.
        y: (n,) ranks of mean 0 and variance 1.
        rng: Of permutations and resamples.
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
        self._telling = [name for name in entered if self._chance({name: bases[name].columns}, beside[name]) <= LEVEL]

    def judge(self, name: str) -> Importance:
        """Return what is known of a parameter, beside those that tell more than chance."""
        basis, tells = self._bases[name], name in self._telling
        beside = self._beside([other for other in self._telling if other != name])
        shares = _shares(beside, basis.columns, self._y, self._weights)
        low, high = np.quantile(shares[1:], [0.1, 0.9])
        most, ends = self._bounds(beside, basis)
        if most < SMALL and (tells or self._may_matter_with_another(name, beside)):
            most = math.inf
        return Importance(name, float(shares[0]), float(low), float(high), bool(tells and shares[0] >= LEAST), most, ends)

    def _beside(self, names: list[str]) -> Floats:
        return np.column_stack([np.ones(len(self._y)), *(self._bases[name].columns for name in names)])

    def _next(self, entered: list[str]) -> str | None:
        """The most telling parameter that has not entered, if it tells more than chance."""
        rest = {name: basis.columns for name, basis in self._bases.items() if name not in entered}
        found = self._surprises(rest, self._beside(entered))
        if not found or _chance(list(found.values())) > LEVEL:
            return None
        return max(found, key=lambda name: float(found[name][0]))

    def _chance(self, candidates: dict[str, Floats], beside: Floats) -> float:
        return _chance(list(self._surprises(candidates, beside).values()))

    def _surprises(self, candidates: dict[str, Floats], beside: Floats) -> dict[str, Floats]:
        """How surprisingly much each explains of what the others leave: first of the ranks, then of each permutation."""
        left = len(self._y) - beside.shape[1]
        if left < FEWEST:
            return {}
        residuals = _without(beside, _without(beside, self._y)[self._orders])
        residuals /= np.sqrt((residuals**2).sum(axis=0)) + 1e-300
        own = {name: _own(beside, columns) for name, columns in candidates.items()}
        return {name: _surprise(((q.T @ residuals) ** 2).sum(axis=0), q.shape[1], left) for name, q in own.items() if q.shape[1]}

    def _may_matter_with_another(self, name: str, beside: Floats) -> bool:
        """Whether products with other parameters explain more than chance mostly does."""
        basis = self._bases[name]
        products = {other: _products(basis.plain, one.plain) for other, one in self._bases.items() if other != name}
        return self._chance(products, np.column_stack([beside, basis.columns])) < DOUBT

    def _bounds(self, beside: Floats, basis: _Basis) -> tuple[float, tuple[float, float]]:
        """What a parameter explains at most over its whole range, and how sure it is that ranks rise at its ends."""
        both = np.column_stack([beside, basis.columns])
        n, k = both.shape
        q, r = np.linalg.qr(both)
        if n - k < FEWEST or np.abs(np.diag(r)).min() < TINY * math.sqrt(n):
            return math.inf, (1.0, 1.0)
        spread = np.linalg.inv(r)[beside.shape[1] :]  # of the parameter's own coefficients
        coefficients = spread @ (q.T @ self._y)
        deviation = float(np.linalg.norm(_without(both, self._y))) / math.sqrt(n - k)
        draws = coefficients[:, None] + deviation * spread @ self._normal[:k]
        most = float(np.quantile((draws**2).sum(axis=0), SURE))
        if not basis.numeric or not deviation:
            return most, (1.0, 1.0)
        rises = _RISES[:, : len(coefficients)]
        z = rises @ coefficients / (deviation * np.linalg.norm(rises @ spread, axis=1))
        return most, (0.5 * math.erfc(z[0] / math.sqrt(2)), 0.5 * math.erfc(z[1] / math.sqrt(2)))


def _basis(column: pd.Series, distribution: Distribution) -> _Basis | None:
    """Return a parameter's columns; None for one that is fixed or missing in some trial."""
    if distribution.single() or column.isna().any():
        return None
    if isinstance(distribution, CategoricalDistribution):
        k = len(distribution.choices)
        contrasts = np.linalg.qr(np.column_stack([np.ones(k), np.eye(k)[:, 1:]]))[0][:, 1:] * math.sqrt(k)
        return _Basis(contrasts[[int(distribution.to_internal_repr(value)) for value in column]], numeric=False)
    values = column.to_numpy(dtype=np.float64)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        values, low, high = np.log(values), math.log(low), math.log(high)
    bent = len(np.unique(values)) > 2  # of two values, one line tells all
    return _Basis(_parabola(2 * (values - low) / (high - low) - 1)[:, : 1 + bent], numeric=True)


def _parabola(t: Floats) -> Floats:
    """The first two Legendre polynomials, of variance 1 over -1 to 1."""
    return np.column_stack([math.sqrt(3) * t, math.sqrt(5) * (3 * t**2 - 1) / 2])


_RISES = _parabola(np.array([-1.0, 1.0])) - _parabola(np.array([-0.5, 0.5]))  # in the outer quarters, towards the ends


def _products(first: Floats, second: Floats) -> Floats:
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _without(columns: Floats, y: Floats) -> Floats:
    """What a regression on columns leaves."""
    q = _own(np.zeros((len(columns), 0)), columns)
    return np.asarray(y - q @ (q.T @ y), dtype=np.float64)


def _own(beside: Floats, columns: Floats) -> Floats:
    """Orthonormal directions of columns that do not lie in those beside."""
    left = _without(beside, columns) if beside.shape[1] else columns
    directions, sizes, _ = np.linalg.svd(left, full_matrices=False)
    return np.asarray(directions[:, sizes > TINY * math.sqrt(len(columns))], dtype=np.float64)


def _surprise(explained: Floats, k: int, left: int) -> Floats:
    """Turn parts explained by k columns into about normal numbers (Wilson and Hilferty, 1931), to compare different k."""
    return np.asarray((np.cbrt(left * explained / k) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k)), dtype=np.float64)


def _chance(surprises: list[Floats]) -> float:
    """The part of the permutations whose largest surprise is at least that of the ranks."""
    if not surprises:
        return 1.0
    largest = np.max(surprises, axis=0)
    return float((1 + (largest[1:] >= largest[0]).sum()) / len(largest))


def _shares(beside: Floats, columns: Floats, y: Floats, weights: Floats) -> Floats:
    """For each row of weights, the part of y's variance that columns explain beside others, less what chance would."""
    both, k = np.column_stack([beside, columns, y]), beside.shape[1]
    shares = np.zeros(len(weights))
    for i, weight in enumerate(weights):
        products = both.T @ (weight[:, None] * both)
        total, (less, more) = _left(products, 1), (_left(products, size) for size in (k, both.shape[1] - 1))
        chance = more * columns.shape[1] / max(1, len(y) - both.shape[1] + 1)
        shares[i] = max(0.0, less - more - chance) / max(total, TINY)
    return shares


def _left(products: Floats, k: int) -> float:
    """The sum of squares that a regression on the first k columns leaves of the last."""
    inner, outer = products[:k, :k] + TINY * np.eye(k), products[:k, -1]
    return float(products[-1, -1] - outer @ np.linalg.solve(inner, outer))
