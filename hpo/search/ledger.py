"""What a run writes about its trials: Optuna's rows in Optuna's tables, one transaction a trial's begin, epoch and end.

Through Optuna's storage each parameter, value and attribute is looked up, checked and committed by itself, and a commit is four
waits for the disk (journal, its folder, journal, file). Tables and encodings are Optuna's own, so that whatever reads its
databases reads these rows; what a transaction did not finish, nobody sees.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState

from hpo.errors import StorageError
from hpo.failpoints import reach
from hpo.search.attributes import put
from hpo.search.storage import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.distributions import BaseDistribution
    from sqlalchemy.engine import Connection, Engine

    from hpo.search.storage import Location

_TABLES = models.BaseModel.metadata.tables
_STUDIES, _TRIALS = _TABLES["studies"], _TABLES["trials"]
_OF_TRIAL, _OF_TRIAL_BY_SYSTEM, _OF_STUDY_BY_SYSTEM = (
    _TABLES[f"{whose}_attributes"] for whose in ("trial_user", "trial_system", "study_system")
)

_STATE = sa.select(_TRIALS.c.state).where(_TRIALS.c.trial_id == sa.bindparam("trial"))  # built once: it is asked every epoch


class Ledger:
    """The writing side of one study.

    Args:
        engine: Of the open database.
        location: Where it is, for messages.
        study_id: The study's id.
        name: Its name, for messages.
    """

    def __init__(self, engine: Engine, location: Location, study_id: int, name: str) -> None:
        self._engine, self._location, self._study_id, self._name = engine, location, study_id, name

    def begin(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        notes: Mapping[str, Any],
    ) -> int:
        """Record a trial as RUNNING, and what its sampler noted about the study; return the trial's id.

        Raises:
            StorageError: The database refuses, or another program has added trials or removed the study.
        """
        with guarded(self._location), self._engine.begin() as connection:
            study = _STUDIES.c.study_id == self._study_id
            held = sa.select(_STUDIES.c.study_id).where(study).with_for_update()  # as Optuna does: numbers are unique
            if connection.scalar(held) is None:
                raise StorageError(f"another program has removed study {self._name!r} from {self._location} while it was run.")
            row = {"number": number, "study_id": self._study_id, "state": TrialState.RUNNING, "datetime_start": _now()}
            [trial_id] = connection.execute(sa.insert(_TRIALS), row).inserted_primary_key or [-1]
            before = (_TRIALS.c.study_id == self._study_id) & (_TRIALS.c.trial_id < trial_id)
            latest = sa.select(_TRIALS.c.number).where(before).order_by(_TRIALS.c.trial_id.desc()).limit(1)
            if connection.scalar(latest) != (number - 1 if number else None):
                raise StorageError(
                    f"another program has added trials to study {self._name!r} in {self._location} while it was run. "
                    f"Continue with what is there: hpo resume {self._name}"
                )
            rows = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(distributions[name]),
                }
                for name, value in params.items()
            ]
            if rows:
                connection.execute(sa.insert(_TABLES["trial_params"]), rows)
            put(connection, _OF_STUDY_BY_SYSTEM, {"study_id": self._study_id}, notes)
        return int(trial_id)

    def report(
        self,
        trial_id: int,
        accuracies: Mapping[int, float],
        notes: Mapping[str, Any],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record accuracies by epoch that are not known yet, what the pruner notes about the trial, and attributes.

        Raises:
            StorageError: The database refuses, or another program has ended the trial.
        """
        encoded = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
        rows = [
            {"trial_id": trial_id, "step": epoch, "intermediate_value": value, "intermediate_value_type": kind}
            for epoch, (value, kind) in ((epoch, encoded(accuracy)) for epoch, accuracy in accuracies.items())
        ]
        with guarded(self._location):
            with self._engine.begin() as connection:
                reach("epoch.reporting")
                if rows:
                    connection.execute(sa.insert(_TABLES["trial_intermediate_values"]), rows)
                put(connection, _OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, notes)
                put(connection, _OF_TRIAL, {"trial_id": trial_id}, attributes or {})
                self._check_running(connection, trial_id)
            reach("epoch.reported")

    def end(
        self, trial_id: int, state: TrialState, value: float | None, attributes: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> None:
        """Record a trial's end with all that is known of it.

        Raises:
            StorageError: The database refuses, or another program has ended the trial.
        """
        with guarded(self._location), self._engine.begin() as connection:
            put(connection, _OF_TRIAL, {"trial_id": trial_id}, attributes)
            put(connection, _OF_TRIAL_BY_SYSTEM, {"trial_id": trial_id}, notes)
            reach("trial.described")
            self._check_running(connection, trial_id)
            if value is not None:
                stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                row = {"trial_id": trial_id, "objective": 0, "value": stored, "value_type": kind}
                connection.execute(sa.insert(_TABLES["trial_values"]), row)
            ended = {"state": state, "datetime_complete": _now()}
            connection.execute(sa.update(_TRIALS).where(_TRIALS.c.trial_id == trial_id).values(ended))

    def _check_running(self, connection: Connection, trial_id: int) -> None:
        state = connection.scalar(_STATE, {"trial": trial_id})
        if state != TrialState.RUNNING:
            done = "removed" if state is None else "ended"
            raise StorageError(
                f"another program has {done} a trial of study {self._name!r} in {self._location} while it was trained. "
                f"Continue with what is there: hpo resume {self._name}"
            )


def _now() -> datetime:
    """Return the time as Optuna stores it: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)
