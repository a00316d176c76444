"""Time and size of a page for 50 and 10,000 trials, compared with Optuna's own figures, and drawing in Chromium.

    python tests/bench/report.py             # 5 processes each; Chromium's part is left out where there is none
    python tests/bench/report.py --optuna    # also Optuna's load and five figures, one after the other (a minute)

A process includes Python's start, imports, loading from SQLite, and the page. The 10,000 trials have 8 parameters and 10
epochs; they are written directly into Optuna's tables, because through Optuna this would take 5 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

sys.path.insert(0, str(Path(__file__).parents[1]))
import made
from browser import CHROMIUM, look

SPACE = made.SPACE | {
    "filters": IntDistribution(16, 128, step=16),
    "batch": CategoricalDistribution((64, 128, 256)),
    "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "cutout": FloatDistribution(0, 1),
}
PAGE = """
import sys
from pathlib import Path
from hpo.report import document, page, summary
from hpo.store.reading import record
from hpo.store import database
found = record.load("big", database.locate(sys.argv[1]))
document.write(Path(sys.argv[2]), page.page(summary.summarize(found), artifacts=Path(sys.argv[3])))
"""
FIGURES = """
import sys, warnings, optuna
from pathlib import Path
from optuna import visualization as v
warnings.simplefilter("ignore")
study = optuna.load_study(study_name="big", storage=sys.argv[1])
for draw in (v.plot_optimization_history, v.plot_slice, v.plot_parallel_coordinate, v.plot_intermediate_values,
             v.plot_param_importances):
    Path(sys.argv[2]).write_text(draw(study).to_html())
"""


def big(storage: str, n: int) -> None:
    """Write a study of `n` trials into a new database."""
    study = made.study([], name="big", storage=storage, settings={"dataset": "cifar10"}, environment={"classes": made.CLASSES})
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict]] = {name: [] for name in ("trials", "values", "params", "steps", "attributes")}
    as_json = {name: distribution_to_json(one) for name, one in SPACE.items()}
    for i in range(n):
        params = made.point(rng, SPACE)
        good = 0.8 - 0.03 * (np.log10(params["lr"]) + 2) ** 2 + 0.02 * params["depth"] + rng.normal(0, 0.01)
        state = rng.choice(["COMPLETE", "PRUNED", "FAIL"], p=[0.47, 0.5, 0.03]) if i else "COMPLETE"
        epochs = 10 if state == "COMPLETE" else int(rng.integers(1, 9))
        curve = [round(float(a), 4) for a in made.curve(good)[:epochs]]
        begin = made.BEGIN + made.dt.timedelta(seconds=30 * i)
        times = {"start": str(begin)[:19], "complete": str(begin + made.dt.timedelta(seconds=6 * epochs))[:19]}
        rows["trials"].append({"id": i + 1, "number": i, "state": str(state)} | times)
        if state != "FAIL":
            rows["values"].append({"id": i + 1, "value": curve[-1]})
        for name, value in params.items():
            internal = SPACE[name].to_internal_repr(value)
            rows["params"].append({"id": i + 1, "name": name, "value": internal, "json": as_json[name]})
        rows["steps"] += [{"id": i + 1, "step": e, "value": value} for e, value in enumerate(curve, 1)]
        losses = [round(2 / e, 4) for e in range(1, epochs + 1)]
        size = params["filters"] ** 2 * 9 * params["depth"]
        attributes = {"seconds": 6.0 * epochs, "images_per_second": 500.0 + i % 7, "n_parameters": size, "worker": i % 2}
        attributes |= {"macs": 200 * size, "checkpoint": f"trial-{i}", "train_loss": losses, "score_loss": losses}
        since = begin.timestamp()
        attributes["stints"] = [[i % 2, since, since + 6 * epochs]]
        rows["attributes"] += [{"id": i + 1, "key": k, "value": json.dumps(v)} for k, v in attributes.items()]
    _insert(storage, study._study_id, rows)


def _insert(storage: str, study: int, rows: dict[str, list[dict]]) -> None:
    steps, kind = "trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)", "'FINITE'"
    into = {
        "trials": f"trials (trial_id, study_id, number, state, datetime_start, datetime_complete) "
        f"VALUES (:id, {study}, :number, :state, :start, :complete)",
        "values": f"trial_values (trial_id, objective, value, value_type) VALUES (:id, 0, :value, {kind})",
        "params": "trial_params (trial_id, param_name, param_value, distribution_json) VALUES (:id, :name, :value, :json)",
        "steps": f"{steps} VALUES (:id, :step, :value, {kind})",
        "attributes": "trial_user_attributes (trial_id, key, value_json) VALUES (:id, :key, :value)",
    }
    with sqlalchemy.create_engine(storage).begin() as connection:
        for name, target in into.items():
            connection.execute(sqlalchemy.text(f"INSERT INTO {target}"), rows[name])


def seconds(script: str, *arguments: object, repeats: int) -> tuple[list[float], list[float]]:
    """Return wall and processor time of whole processes; a busy machine increases the first, but hardly the second."""
    wall, processor = [], []
    for _ in range(repeats):
        begin, used = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-c", script, *map(str, arguments)], check=True, stderr=subprocess.DEVNULL)
        wall.append(time.perf_counter() - begin)
        now = os.times()
        processor.append(now.children_user + now.children_system - used.children_user - used.children_system)
    return wall, processor


def shown(name: str, values: list[float], unit: str, most: float | None = None) -> None:
    """Print a time: median, spread, n, and limit."""
    limit = f"   (at most {most:g})" if most is not None else ""
    spread = f"{min(values):.2f} to {max(values):.2f}"
    print(f"{name:44} {statistics.median(values):7.2f} {unit}   {spread}, n={len(values)}{limit}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optuna", action="store_true", help="measure Optuna's own figures too")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before the first figure")
    with tempfile.TemporaryDirectory() as folder:
        made.artifacts(Path(folder))
        for n, most_seconds, most_megabytes in ((50, 2.5, 5.5), (10_000, 6, 8)):
            storage, page = f"sqlite:///{folder}/{n}.db", Path(folder, f"{n}.html")
            big(storage, n)
            wall, processor = seconds(PAGE, storage, page, folder, repeats=given.repeats)
            shown(f"{n:,} trials: page, whole process", wall, "s ", most_seconds)
            shown(f"{n:,} trials: page, processor time", processor, "s ")
            shown(f"{n:,} trials: size of the page", [page.stat().st_size / 1e6], "MB", most_megabytes)
            if CHROMIUM:
                seen = [look(page, seconds=120, settle=2) for _ in range(given.repeats)]
                shown(f"{n:,} trials: last figure drawn", [(one.milliseconds or 0) / 1e3 for one in seen], "s ", 3)
                shown(f"{n:,} trials: drawing, processor time", [one.processor for one in seen], "s ")
                print(f"  figures drawn {seen[0].drawn}, console {seen[0].console}, requests {seen[0].requests}")
        if given.optuna:
            wall, processor = seconds(FIGURES, storage, page, repeats=1)
            shown("10,000 trials: Optuna's load and five figures", wall, "s ")
            shown("10,000 trials: the same, processor time", processor, "s ")


if __name__ == "__main__":
    main()
