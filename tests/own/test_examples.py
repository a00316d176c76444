"""Files of training code that users could write run as they are, and are continued to the digit."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from watchers import Interrupted

import hpo
from hpo.own import template

EXAMPLES = Path(__file__).parent / "examples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with_sklearn", "with_lightning", "new"])
def test_an_example_is_searched_and_an_interrupted_one_ends_as_an_undisturbed_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "with_lightning" and importlib.util.find_spec("lightning") is None:
        pytest.skip("Lightning is not installed")
    if name == "new":  # plain PyTorch
        template.write(Path("mine.py"))
    else:
        shutil.copy(EXAMPLES / f"{name}.py", "mine.py")
    options = hpo.RunOptions(trials=4, workers=1, device="cpu")
    settings = hpo.Settings(epochs=6)
    with pytest.raises(KeyboardInterrupt):
        hpo.run(train="mine.py", settings=settings, options=options, watcher=Interrupted(at=4))
    found = hpo.resume("mine", options=options).record
    calm = hpo.run("calm", train="mine.py", settings=settings, options=options).record
    assert found.n_finished == 4
    assert found.best.value > 0.6
    assert [t.intermediate_values for t in found.trials] == [t.intermediate_values for t in calm.trials]
