"""Optuna's storage in a database, with a quicker way to read the trials of a study."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, or_, select

_LISTED = 400
"""Trials whose rows are asked for one by one; those of more are found through their study."""


class Database(RDBStorage):
    """As Optuna's own storage; a study's trials are read in six plain queries, without an object for every row.

    A study of ten thousand trials holds a quarter of a million rows, and each trial's distributions as text, of which
    there are few that differ.
    """

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        if states is not None or len(included_trial_ids) > _LISTED:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        trial = models.TrialModel.__table__.c
        wanted = trial.trial_id > trial_id_greater_than
        if included_trial_ids:
            wanted = or_(wanted, trial.trial_id.in_(included_trial_ids))
        with self.engine.connect() as connection:
            columns = (trial.trial_id, trial.number, trial.state, trial.datetime_start, trial.datetime_complete)
            found = select(*columns).where(trial.study_id == study_id, wanted).order_by(trial.trial_id)
            rows = connection.execute(found).all()
            if len(rows) <= _LISTED:
                wanted = trial.trial_id.in_([row.trial_id for row in rows])
            parts = _Parts(connection, wanted & (trial.study_id == study_id)) if rows else None
        return [] if parts is None else [parts.trial(row) for row in rows]


class _Parts:
    """What is stored of trials in tables of its own, by trial."""

    def __init__(self, connection: Connection, wanted: ColumnElement[bool]) -> None:
        trials, value, step = models.TrialModel.__table__, models.TrialValueModel, models.TrialIntermediateValueModel

        def rows(model: type[models.BaseModel], *names: str) -> Iterator[Row[*tuple[Any, ...]]]:
            table = model.__table__
            joined = table.join(trials, trials.c.trial_id == table.c.trial_id)
            columns = (table.c[name] for name in ("trial_id", *names))
            yield from connection.execute(select(*columns).select_from(joined).where(wanted))

        self._values: dict[int, dict[int, float]] = defaultdict(dict)
        for key, objective, number, kind in rows(value, "objective", "value", "value_type"):
            self._values[key][objective] = value.stored_repr_to_value(number, kind)
        self._steps: dict[int, dict[int, float]] = defaultdict(dict)
        for key, at, number, kind in rows(step, "step", "intermediate_value", "intermediate_value_type"):
            self._steps[key][at] = step.stored_repr_to_intermediate_value(number, kind)
        self._user: dict[int, dict[str, object]] = defaultdict(dict)
        for key, name, text in rows(models.TrialUserAttributeModel, "key", "value_json"):
            self._user[key][name] = json.loads(text)
        self._system: dict[int, dict[str, object]] = defaultdict(dict)
        for key, name, text in rows(models.TrialSystemAttributeModel, "key", "value_json"):
            self._system[key][name] = json.loads(text)
        self._params: dict[int, list[tuple[int, str, float, str]]] = defaultdict(list)
        for key, *given in rows(models.TrialParamModel, "param_id", "param_name", "param_value", "distribution_json"):
            self._params[key].append((given[0], given[1], given[2], given[3]))

    def trial(self, row: Row[*tuple[Any, ...]]) -> FrozenTrial:
        """A trial, from its row and what belongs to it."""
        key = row.trial_id
        values = self._values.get(key)
        params = [(name, number, _distribution(text)) for _, name, number, text in sorted(self._params.get(key, ()))]
        return FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=None if values is None else [values[objective] for objective in sorted(values)],
            datetime_start=_local(row.datetime_start),
            datetime_complete=_local(row.datetime_complete),
            params={name: distribution.to_external_repr(number) for name, number, distribution in params},
            distributions={name: distribution for name, _, distribution in params},
            user_attrs=self._user.get(key, {}),
            system_attrs=self._system.get(key, {}),
            intermediate_values=self._steps.get(key, {}),
            trial_id=key,
        )


def _local(stored: datetime | None) -> datetime | None:
    """A stored time, which is UTC, as trials hold it."""
    if stored is None:
        return None
    return stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


@lru_cache(maxsize=4_096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)
