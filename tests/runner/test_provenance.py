"""A study keeps the command that made it, as it can be typed again, without what nobody may read."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from hpo.runner import provenance


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["run", "--trials", "50"], "hpo run --trials 50"),
        (["run", "--storage", "my studies/a b.db"], "hpo run --storage 'my studies/a b.db'"),
        (["run", "--storage", "postgresql://me:S3cret@host/db"], "hpo run --storage 'postgresql://me:***@host/db'"),
        (["run", "--storage=postgresql://me:S3cret@host/db"], "hpo run '--storage=postgresql://me:***@host/db'"),
        (["run", "--storage", "postgresql:///db?user=me&password=S3cret"], "hpo run --storage postgresql:///db"),
        (["run", "--storage", "postgresql://me:un@S3cret@host/db"], "hpo run --storage URL"),
        (["run", "--storage=postgresql://me:S3cret@host:port/db"], "hpo run --storage=URL"),
    ],
)
def test_the_command_is_kept_without_a_password(monkeypatch, words, kept):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hpo", *words])
    assert provenance.command() == kept
    assert "S3cret" not in provenance.holder()


def test_in_its_source_folder_hpo_works_without_being_installed(monkeypatch):
    found = metadata.version

    def version(package):
        if package == "hpo":
            raise metadata.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(metadata, "version", version)
    described = provenance.environment(n_workers=2)
    assert (described["hpo"], described["optuna"]) == ("not installed", found("optuna"))
