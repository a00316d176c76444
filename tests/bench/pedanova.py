"""PED-ANOVA with its spread, the page's earlier method, with which influence.py compares today's regression.

The numbers are those of `optuna.importance.PedAnovaImportanceEvaluator`, normalized to sum to 1 (arXiv:2304.10255). `local`
compares the best trials with all trials, otherwise with the whole range.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hpo.store.schema import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    import pandas as pd

    from hpo.store.schema import Distribution

TOP = 0.1  # the best tenth of the trials is compared with the others,
FEWEST_TOP = 5  # but at least this number, as Optuna's documentation advises,
SOME_TOP = 10  # and this number as long as it is
MOST_TOP = 0.25  # at most a quarter: among five, one or two outliers would decide
GRID = 50  # cells that a numeric range is divided into
FEWEST = 10  # trials below which there is no verdict
SHUFFLES = 400  # enough for the 99th percentile without influence

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """One parameter's importance.

    Attributes:
        name: The parameter.
        share: Its part of the sum over all parameters.
        p: The chance that a parameter without influence looks at least as important (from permutations).
    """

    name: str
    share: float
    p: float


def importances(
    params: pd.DataFrame, values: Floats, distributions: dict[str, Distribution], seed: int = 0, *, local: bool = True
) -> list[Importance]:
    """Return the importance of every parameter that varies, the largest first.

    Args:
        params: One row a trial.
        values: The trials' values or ranks; more is better.
        distributions: By parameter.
        seed: For resamples and permutations, so that the same study always gives the same result.
    """
    grids = [grid for name in params if (grid := _grid(str(name), params[name], distributions[str(name)]))]
    n = len(values)
    if n < FEWEST or not grids:
        return []
    rng = np.random.default_rng(seed)
    all_trials = [_density(grid, np.arange(n)) if local else np.full(grid.size, 1 / grid.size) for grid in grids]
    top = _top(values)
    exact = _divergences(grids, top, all_trials)
    shuffled = np.array([_divergences(grids, rng.choice(n, len(top), replace=False), all_trials) for _ in range(SHUFFLES)])
    p = (1 + (shuffled >= exact).sum(axis=0)) / (1 + SHUFFLES)
    share = exact / (exact.sum() or 1.0)
    found = [Importance(grid.name, float(share[i]), float(p[i])) for i, grid in enumerate(grids)]
    return sorted(found, key=lambda one: -one.share)


def quantile(n: int) -> float:
    """Return the part of `n` trials that counts as the top."""
    return min(1.0, max(TOP, FEWEST_TOP / n, min(MOST_TOP, SOME_TOP / n)))


class _Grid(NamedTuple):
    name: str
    cells: Counts  # the cell of each trial's value
    size: int
    categorical: bool


def _top(values: Floats) -> Counts:
    """Indices of the top trials, including all that equal the last of them."""
    last = math.ceil(quantile(len(values)) * len(values)) - 1
    return np.flatnonzero(-values <= np.partition(-values, last)[last])


def _divergences(grids: list[_Grid], top: Counts, all_trials: list[Floats]) -> Floats:
    """Pearson divergence between the density of the top trials and that of all, for each parameter."""
    pairs = [(_density(grid, top), p_all) for grid, p_all in zip(grids, all_trials, strict=True)]
    return np.array([float(p_all @ (p_top / p_all - 1) ** 2) for p_top, p_all in pairs])


def _density(grid: _Grid, rows: Counts) -> Floats:
    counts = np.bincount(grid.cells[rows], minlength=grid.size)
    return (_categorical(counts) if grid.categorical else _numeric(counts)) + 1e-12


def _grid(name: str, column: pd.Series, distribution: Distribution) -> _Grid | None:
    """Return the cell of every value; None for a parameter that is fixed or missing in some trial."""
    if distribution.single() or column.isna().any():
        return None
    if isinstance(distribution, CategoricalDistribution):
        choices = [int(distribution.to_internal_repr(value)) for value in column]
        return _Grid(name, np.array(choices, dtype=np.int64), len(distribution.choices), categorical=True)
    values = column.to_numpy(dtype=float)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        values, low, high = np.log(values), math.log(low), math.log(high)
    size = _size(distribution)
    cells = np.ceil((values - low) / ((high - low) / (size - 1)) - 0.5)  # ties go down, as in Optuna
    return _Grid(name, np.clip(cells, 0, size - 1).astype(np.int64), size, categorical=False)


def _size(distribution: FloatDistribution | IntDistribution) -> int:
    """Return the number of cells that Optuna gives a range: never more than there are values."""
    if isinstance(distribution, IntDistribution) and distribution.log:
        return min(math.ceil(math.log2(distribution.high - distribution.low + 1)) + 1, GRID)
    if distribution.step is not None:
        return min(round((distribution.high - distribution.low) / distribution.step) + 1, GRID)
    return GRID


def _categorical(counts: Counts) -> Floats:
    """Density over choices: each seen choice is one kernel, and so is the prior."""
    seen = np.flatnonzero(counts)
    kernels = np.full((len(seen) + 1, len(counts)), 1.0 / (len(seen) + 1))
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = np.append(counts[seen], 1.0)
    return np.asarray(weights / weights.sum() @ kernels, dtype=np.float64)


def _numeric(counts: Counts) -> Floats:
    """Density over cells: a truncated normal kernel at each seen cell (bandwidth by Scott's rule) and a wide prior."""
    seen = np.flatnonzero(counts)
    n = counts[seen].sum()
    mean = seen @ counts[seen] / n
    deviation = math.sqrt(((seen - mean) ** 2 @ counts[seen]) / max(1, n - 1))
    cumulative = np.cumsum(counts[seen])
    first = seen[np.searchsorted(cumulative, n // 4, side="left")]
    third = seen[min(len(seen) - 1, int(np.searchsorted(cumulative, n * 3 // 4, side="right")))]
    width = max(1.059 * min((third - first) / 1.34, deviation) * n**-0.2, 0.5 / 1.64)
    size = len(counts)
    cell = np.arange(size)
    kernels = _normal(cell[None, :] - seen[:, None], width, size)
    kernels /= kernels.sum(axis=1, keepdims=True)
    prior = _normal(cell - (size - 1) / 2, float(size), size)
    return np.asarray((counts[seen] @ kernels + prior / prior.sum()) / (n + 1), dtype=np.float64)


def _normal(distance: npt.NDArray[np.generic], width: float, size: int) -> Floats:
    """Mass of a normal density in cells of width 1 that lie `distance` (a multiple of a half) from its mean."""
    edges = np.arange(-2 * size - 1, 2 * size + 2) / 2  # every distance's two edges are among these
    below = np.interp(edges / width, *_normal_table())
    place = np.asarray(2 * distance, dtype=float).astype(np.int64) + 2 * size + 1
    return np.asarray(below[place + 1] - below[place - 1], dtype=np.float64)


@functools.cache
def _normal_table() -> tuple[Floats, Floats]:
    """Return the standard normal distribution function, good to 1e-7: NumPy has none, and SciPy takes long to load."""
    x = np.linspace(-9, 9, 18_001)
    return x, np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
