"""The model card of an export: README.md, with the front matter that the Hugging Face Hub reads. Its numbers are the study's."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.builtin.models import is_file
from hpo.errors import HpoError
from hpo.report.artifacts import read_artifacts
from hpo.report.figures.winner import label_smoothing
from hpo.report.findings.result import winner
from hpo.report.statistics import stats
from hpo.report.summary import summarize
from hpo.report.winner import again
from hpo.report.words import count, duration, flat, percent, space_rows
from hpo.settings import METRICS, metric_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpo.networks.stored import Description
    from hpo.report.summary import Summary
    from hpo.store.reading.record import StudyRecord

_HUB = {  # where the Hub has a data set that hpo knows by name
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "svhn": "ufldl-stanford/svhn",
}
_FIT = {
    "crop": "the short side is scaled, and the middle kept",
    "pad": "the long side is scaled, and the margins are black",
    "stretch": "both sides are scaled",
}
_SQUARE = {  # the same in Pillow's words
    "crop": "ImageOps.fit(picture, ({size}, {size}), Image.Resampling.BICUBIC)",
    "pad": "ImageOps.pad(picture, ({size}, {size}), Image.Resampling.BICUBIC)",
    "stretch": "picture.resize(({size}, {size}), Image.Resampling.BICUBIC)",
}
_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~])")


def card(record: StudyRecord, about: Description, equal: Mapping[str, Any], forms: tuple[str, ...], model: str) -> str:
    """Return the text of README.md.

    Args:
        record: The study; its best trial is the network.
        about: What the network's file says.
        equal: The content of equal.json.
        forms: Those that are in the folder.
        model: What builds the network.
    """
    import jinja2

    summary = summarize(record)
    data = about.data.get("name") or (record.settings.images if record.settings else "")
    named = record.settings is not None and record.settings.data is None
    metric = summary.score_name
    environment = jinja2.Environment(  # noqa: S701  # it is Markdown, and `text` escapes what others wrote
        loader=jinja2.PackageLoader("hpo.exporting", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = text
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    made = environment.get_template("card.md.j2").render(
        study=record.name,
        forms=forms,
        model=model,
        own=is_file(model),
        hub=_HUB.get(data) if named else None,
        data=data,
        split="validation" if summary.settings.get("score") == "validation" else "test",
        metric=metric,
        value=round(record.best.value or 0.0, 6),
        version=about.hpo or equal["hpo"],
        size=about.images.size,
        grey=about.images.grey or about.images.channels == 1,
        fit=_FIT.get(about.images.fit, about.images.fit),
        square=_SQUARE.get(about.images.fit, _SQUARE["stretch"]).format(size=about.images.size),
        mirrored=about.mirrored,
        shifted=about.shifted,
        smoothing=bool(label_smoothing(summary)),
        classes=about.classes,
        facts={"network": model} | _facts(summary, record, about),
        scored=_scored(summary, record),
        verdict=_verdict(summary),
        tried=_tried(summary),
        parameters=_parameters(summary, about),
        again=_again(summary, record.best.number),
        proven={**equal, "precision": precision(equal)},
        opset=next((form["opset"] for form in equal["forms"] if "opset" in form), None),
    )
    return re.sub(r"\n{3,}", "\n\n", made).replace("\N{NO-BREAK SPACE}", " ")


def text(value: object) -> str:
    """Return what somebody else may have written as Markdown that shows it, on one line."""
    return _MARKED.sub(r"\\\1", " ".join(str(value).split()))


def _again(summary: Summary, best: int) -> str:
    """Return the commands that train the network again, without the folders of this machine."""
    commands, objective = again(summary, best), summary.objective
    for word in objective.options if objective.kind != "command" else ():
        commands = commands.replace(shlex.quote(word), shlex.quote(re.split(r"[\\/]", word)[-1]))
    return commands


def _facts(summary: Summary, record: StudyRecord, about: Description) -> dict[str, str]:
    environment = summary.environment
    digest = about.data.get("digest") or environment.get("data_digest", "")
    n_train = about.n_train or environment.get("n_train")
    where = {"validation": "validation images that were held out", "test": "test images"}
    split = where.get(str(summary.settings.get("score", "test")), "images")
    made = {
        summary.score_name: summary.objective.score.shown(record.best.value or 0.0),
        "measured on": f"{summary.n_images:,} {split}" if summary.n_images else split,
        "data": f"{about.data.get('name', '')}, SHA-256 {digest}" if digest else about.data.get("name", ""),
        "trained on": f"{n_train:,} images, {count(summary.epochs, 'epoch')}" if n_train else "",
        "parameters": _count(record, "n_parameters"),
        "multiply-adds per view": _count(record, "macs"),
        "trial, seed": f"{record.best.number}, {about.seed}",
        "made with": f"hpo {about.hpo}, PyTorch {about.torch}" if about.hpo else "",
    }
    return {what: said for what, said in made.items() if said}


def _count(record: StudyRecord, name: str) -> str:
    n = record.notes(record.best).get(name)
    return f"{n:,}" if isinstance(n, int) else ""


def _scored(summary: Summary, record: StudyRecord) -> str:
    """Return the accuracy with its interval, counted from the answers that the trial left."""
    answers = read_artifacts(record.winner_folder).scores
    where = "held-out validation" if summary.settings.get("score") == "validation" else "test"
    said = f"{summary.score_name} {summary.objective.score.shown(record.best.value or 0.0)}."
    if answers is not None:
        right, n = int((answers.predicted == answers.labels).sum()), len(answers.labels)
        low, high = stats.wilson(right / n, n)
        each = f"{percent(low, 2)} to {percent(high, 2)}"
        counted = f"Accuracy: {right:,} of {n:,} {where} images, {percent(right / n, 2)} (95 % interval, Wilson: {each})."
        said = counted if metric_of(summary.settings) == METRICS[0] else f"{said} {counted}"
    chosen = "This network was chosen because of this very score, so on new images expect a little less."
    return f"{said} {chosen}" if len(summary.finished) > 1 else said


def _verdict(summary: Summary) -> str:
    try:
        finding = winner(summary)
    except (HpoError, ArithmeticError, ValueError):  # it says more than is necessary
        return ""
    return finding.text if finding else ""


def _tried(summary: Summary) -> dict[str, Any]:
    counts = ", ".join(f"{n:,} {state.lower()}" for state, n in summary.counts.items() if n)
    seconds = float(np.nansum(summary.trials["seconds"]))
    settings = summary.settings
    how = f"sampler {settings.get('sampler')}, pruner {settings.get('pruner')}, seed {settings.get('seed')}"
    plural = "s" if len(summary.trials) != 1 else ""
    sentence = f"{len(summary.trials):,} trial{plural} ({counts}), {duration(seconds)} of training in all; {how}."
    return {"trials": f"{len(summary.trials):,} trial{plural}", "sentence": sentence}


def _parameters(summary: Summary, about: Description) -> list[tuple[str, str, str]]:
    """Return name, value and range of every parameter that was searched."""
    point = flat(about.point)
    return [(name, point.get(name, ""), searched) for name, searched, _ in space_rows(summary) if name in summary.distributions]


def precision(equal: Mapping[str, Any]) -> str:
    """Return a sentence on the precision of the recorded score."""
    scored, n = equal["scored"], equal["images"]
    if scored["largest_difference"] is None:
        return "The logits that the trial recorded are not there any more."
    return (
        f"The score was measured in {scored['precision'] or 'an unknown precision'}. In float32, logits differ from those by "
        f"at most {scored['largest_difference']:.1g}, and the classes of {scored['classes_differ']:,} of {n:,} pictures."
    )
