"""The beginning of a search: what can be wrong is looked at before anything runs; the study is made or found."""

from __future__ import annotations

import os

from autotc.evaluate.base import Evaluator
from autotc.resources import search_space
from autotc.search.errors import SearchError
from autotc.search.problem import Problem, pose
from autotc.search.samples import open_artifacts
from autotc.search.settings import ALONE, SearchSettings, StudySettings, load_space
from autotc.search.storage import Study, create_study, resume_study
from autotc.tracking import resolve


def check_places(asked: SearchSettings) -> None:
    """See that everything can be written where it is asked for, before anything runs.

    Raises:
        SearchError: a folder is a file, or cannot be written.
        MissingDependencyError: what an artifact store needs is not installed.
        DataError: MLflow takes no such address.
    """
    if asked.track:
        resolve(asked.tracking_uri, asked.runs)
    if asked.artifacts is not None:
        open_artifacts(asked.artifacts)
    if asked.sampler in ALONE and asked.workers > 1:
        raise SearchError(
            f"workers: {asked.workers} given; {asked.sampler} proposes one policy after the other: 1 is right"
        )
    for name, folder in (("runs", asked.runs), ("out_dir", asked.out_dir)):
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise SearchError(f"{name}: {folder} given, and {nearest} is no folder; give another")
        if not os.access(nearest, os.W_OK):
            raise SearchError(f"{name}: {folder} given, and {nearest} cannot be written; give another")


def open_study(asked: SearchSettings, evaluator: Evaluator) -> tuple[Study, Problem]:
    """Make the study that is asked for, or find the one to resume; with what it is about.

    Raises:
        SearchError, SpaceError: as of `search`; nothing was made then.
    """
    samples, stamp = evaluator.info("search").sha256, evaluator.stamp("search")
    if asked.resume:
        study = resume_study(asked, samples, stamp)
        return study, pose(study.settings, evaluator)
    space = load_space(search_space() if asked.space is None else asked.space)
    settings = StudySettings.of(asked, space.to_yaml(), samples, stamp)
    problem = pose(settings, evaluator)
    return create_study(settings, asked.home), problem
