"""The Python API. The commands run, resume and report call it: it puts session, dashboard and page together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo import folders, objectives
from hpo.builtin.convnet import OBJECTIVE
from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.search_space import SearchSpace
from hpo.settings import TASK, RunOptions, Settings
from hpo.store.database import locate
from hpo.store.reading import record
from hpo.store.repetitions import Repetitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from hpo.exporting.export import Exported
    from hpo.report.reproduction import Reproduction
    from hpo.runner.board import Watcher
    from hpo.runner.session import Outcome
    from hpo.scoring.score import Score
    from hpo.store.reading.record import StudyRecord

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "settings": ((Settings,), "an hpo.Settings, such as hpo.Settings(epochs=5)"),
    "options": ((RunOptions,), "an hpo.RunOptions, such as hpo.RunOptions(trials=10)"),
    "objective": ((Objective,), "an hpo.objective.Objective"),
    "repetitions": ((Repetitions,), "what finalists train"),
    "space": ((SearchSpace, str), "a preset's name, a TOML file's path or an hpo.SearchSpace"),
}


def run(
    study: str | None = None,
    *,
    settings: Settings | None = None,
    space: SearchSpace | str | None = None,
    model: str | None = None,
    pretrained: bool = False,
    weights: Path | str | None = None,
    train: str | None = None,
    optuna: str | None = None,
    command: str | None = None,
    score: Score | None = None,
    objective: Objective | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Create or continue a study until it has `options.trials` finished trials in total or another limit is reached.

    Settings given here must equal those of a stored study; settings not given are taken from it. The run keeps current what
    optuna-dashboard shows of the study. It writes no page: `write_report` does that.

    Args:
        study: Its name; by default that of the data set, or of an objective without one.
        settings: Settings that all trials of the study share.
        space: A space, a preset's name or the path of a TOML file; the objective's first preset (`basic`) by default.
        model: `convnet`, the built-in network; the name of a classification network of torchvision, such as `resnet18`; or
            `FILE.py:build`, a function of one's own that builds a network, with its space.
        pretrained: Whether a network of torchvision begins with torchvision's own weights.
        weights: A file of weights that it begins with instead.
        train: `FILE.py:train`, a generator function of one's own that trains a configuration, with its space and its score.
        optuna: `FILE.py:objective`, an Optuna objective: a function of a trial that returns a value.
        command: The words of any program, with a place in braces for each parameter, whose lines of JSON are epochs.
        score: With `command` or `optuna`, what the study is judged by: `hpo.maximize("accuracy")`, `hpo.minimize("loss")`. By
            default an accuracy of a program; a value of an objective, in the direction that its file names, else less is better.
        objective: What is optimized, as a value; the built-in network by default.
        options: Limits, workers and device of this run.
        storage: Path or URL of the database; by default $HPO_STORAGE, $OPTUNA_STORAGE, then studies/hpo.db.
        watcher: Receives the events of the run.

    Returns:
        The study as it is stored now, and why the run ended.

    Raises:
        UsageError: A value is invalid, or differs from the stored study's.
        DataError: The data set is missing or damaged.
        DeviceError: The device does not exist on this machine.
        StorageError: The database or the disk fails, or another process runs the study.
    """
    named = {"model": model, "train": train, "optuna": optuna, "command": command, "objective": objective}
    objective = _meant(named, score, space, settings, pretrained=pretrained, weights=weights)
    space = None if command is not None else space  # the objective has it
    _check_name(objective)
    return run_as_told(study, storage, watcher, settings=settings, space=space, objective=objective, options=options)


def _meant(
    named: Mapping[str, Any],
    score: Score | None,
    space: SearchSpace | str | None,
    settings: Settings | None,
    *,
    pretrained: bool,
    weights: Path | str | None,
) -> Objective | None:
    """Return what is optimized, by the one name that was given; None where none was.

    Raises:
        UsageError: Several were given, or what does not go with it.
    """
    model, train, optuna, command = (named[kind] for kind in ("model", "train", "optuna", "command"))
    if sum(given is not None for given in named.values()) > 1:
        raise UsageError("of model, train, optuna, command and objective each says what is optimized: name one.")
    if score is not None and command is None and optuna is None:
        raise UsageError("the score is told by what is trained; only with a command or an Optuna objective it is named.")
    objective: Objective | None = named["objective"]
    if optuna is not None:
        objective = objectives.of_optuna(optuna, score, space)
    if settings is not None and (optuna or command) and (images := sorted({*TASK} & settings.model_fields_set)):
        raise UsageError(f"--{images[0].replace('_', '-')}: what is trained brings its own data. Leave it out.")
    if command is not None:
        objective = objectives.of_command(command, score, space)
    if model is not None or pretrained or weights is not None:
        objective = objectives.of_model(model, weights, settings or Settings(), pretrained=pretrained)
    if train is not None:
        with_data = settings is not None and bool({"dataset", "data"} & settings.model_fields_set)
        objective = objectives.of_file(train, with_data=with_data)
    return objective


def resume(
    study: str,
    *,
    objective: Objective | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Continue a study with its stored settings and space. Training code of one's own is looked for where it was.

    Raises:
        UsageError: No such study. Others as for `run`.
    """
    _check_name(objective)
    objective = objective or objectives.of_record(record.load(study, locate(storage)))
    return run_as_told(study, storage, watcher, must_exist=True, objective=objective, options=options)


def load(study: str, storage: str | None = None) -> StudyRecord:
    """Return a stored study with its settings, space, trials and best trial; `.study` is Optuna's own object.

    Raises:
        UsageError: No such study, or it has several objectives.
        StorageError: The database is missing or cannot be used.
    """
    return record.load(study, locate(storage))


def reproduce(
    study: str,
    trial: int | None = None,
    *,
    command: str | None = None,
    objective: Objective | None = None,
    options: RunOptions | None = None,
    storage: str | None = None,
    watcher: Watcher | None = None,
) -> Reproduction:
    """Train a trial again from its recorded seed, configuration and data, and say whether it came out the same.

    Nothing of the study is changed. A run that is interrupted is continued by the next call.

    Args:
        study: The study's name.
        trial: The trial's number; the best one by default.
        command: Of a study that is trained by a program: its words again, since none is run because a database says so.
        objective: The objective, as for `run`, where it is neither hpo's nor in a file.
        options: `device` and `data_dir` of this training; by default those of the study.
        storage: As for `run`.
        watcher: Is shown how far it is.

    Returns:
        The verdict, `identical`, `same` (within noise) or `different`, by how much, and what of the environment differs.

    Raises:
        NoResultError: No trial is complete, or this one cannot be trained to its end now.
        UsageError: No such study or trial. Others as for `run`.
    """
    from hpo.runner import again
    from hpo.runner.board import Watcher

    record = load(study, storage)
    record.best  # noqa: B018  # before anything is loaded: says what to do where there is none
    objective = objective or objectives.of_record(record, command, by="reproduce")
    if objective.name != record.objective.name:
        raise UsageError(f"study {study!r} is of {record.objective.name!r}, and not of {objective.name!r}.")
    return again.reproduce(record, trial, objective, options or RunOptions(), watcher or Watcher())


def write_report(
    record: StudyRecord, out: Path | str | None = None, *, title: str | None = None, with_network: bool = False
) -> Path:
    """Write a study's report, one HTML file, and return its path.

    Args:
        record: From `load`, or `outcome.record`.
        out: The file; by default `reports/STUDY.html`.
        title: Heading; by default the study's name.
        with_network: Put the winner's network into the page, where it classifies pictures.

    Raises:
        StorageError: `out` cannot be written.
        NoResultError, UsageError, DataError: There is no network that a page can hold; says why.
    """
    from hpo.report import write_report as write

    place = Path("reports", f"{folders.file_name(record.name)}.html") if out is None else Path(out)
    return write(record, place, title=title, with_network=with_network)


def export(
    study: str,
    folder: Path | str,
    *,
    forms: Sequence[str] | None = None,
    storage: str | None = None,
    data_dir: Path | str | None = None,
    told: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write a study's best network into a folder, in forms that run without hpo, each proven to compute the same.

    Every form is run on up to 1,000 scored images. The folder appears once all of them agree with the network in float32. An
    earlier export there is replaced; anything else is left alone.

    Args:
        study: Its name.
        folder: Of the export.
        forms: Of `onnx`, `torch`, `safetensors`, `source` and `card`; by default all that can be made here of this network.
        storage: As for `run`.
        data_dir: Folder for data sets; by default where the study had them.
        told: Receives what is being done.

    Raises:
        UsageError: No such study or form, a network without a file, or a folder that is somebody else's.
        NoResultError: No trial is complete, or a form does not compute the same.
        DataError: The network's file or the images are gone, or are others now.
        StorageError: The folder cannot be written.
    """
    from hpo.data.arrays import silent
    from hpo.exporting.export import export as write

    where = Path(data_dir) if data_dir is not None else None
    return write(load(study, storage), folder, forms, data_dir=where, told=told or silent)


def verdict(record: StudyRecord) -> str:
    """Return what tuning brought, in a sentence or two: the page's first finding; empty without a finished trial."""
    from hpo.report.findings.result import winner
    from hpo.report.summary import summarize

    finding = winner(summarize(record))
    return finding.text if finding else ""


def _check_name(objective: Objective | None) -> None:
    if not isinstance(objective, Objective) or objective.name != OBJECTIVE.name:
        return
    if objective.judged_by(OBJECTIVE.score.name) != OBJECTIVE:
        raise UsageError(f"objective: {objective.name!r} is the name of hpo's own. Give it another.")


def run_as_told(
    study: str | None,
    storage: str | None,
    shown: Watcher | None,
    *,
    must_exist: bool = False,
    **given: Any,  # noqa: ANN401  # each checked
) -> Outcome:
    """Run a study with what was given, showing it and keeping the dashboard current."""
    for name, value in given.items():
        kinds, write = _KINDS[name]
        if value is not None and not isinstance(value, kinds):
            raise UsageError(f"{name} should be {write}, but is a {type(value).__name__}.")
    from concurrent.futures import ThreadPoolExecutor

    from hpo.dashboard import beside
    from hpo.runner import session
    from hpo.runner.board import Watcher, Watchers
    from hpo.runner.publishing import Publishing

    shown = shown or Watcher()
    aside = ThreadPoolExecutor(1, "publication")  # its thread waits for the process

    def begin(study: str) -> Future[None]:
        return aside.submit(beside.publish_beside, study, storage)

    watcher = Watchers(shown, Publishing(shown.warned, lambda study: beside.publish(study, storage), begin))
    given["objective"] = given["objective"] or OBJECTIVE
    try:
        return session.run(study, storage=storage, watcher=watcher, must_exist=must_exist, **given)
    finally:
        aside.shutdown(wait=False)  # a run that is stopped immediately does not wait
