"""Whatever modules lie in the current folder, hpo and its processes run their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.system.children import python

MODULES = ["random", "queue", "secrets", "numpy", "optuna", "torch", "psutil", "json", "messages"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with modules of somebody's that would be noticed if they were executed."""
    for module in MODULES:
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write({module!r} + '\\n')\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "executed").exists()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("code", ["import hpo.training.worker, random, queue, numpy, torch", "from hpo import api; api.load"])
def test_a_child_imports_its_own_modules(code):
    subprocess.run(python(code), check=True)


def test_a_child_imports_hpo_where_it_is_not_installed(folder):
    (folder / "hpo.py").write_text("1 / 0")
    code = python("import hpo; print(hpo.__file__)")
    found = subprocess.run([*code[:1], "-I", "-S", *code[1:]], check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).parent == Path(sys.modules["hpo"].__file__).parent


@pytest.mark.usefixtures("folder")
def test_python_m_hpo_imports_its_own_modules():
    done = subprocess.run([sys.executable, "-m", "hpo", "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_executes_nothing_of_the_current_folder(folder, tmp_path_factory):
    words = ("run", "a", "--dataset", "digits", "--limit-train", 200, "--limit-test", 100, "--epochs", 1, "-j", 1, "--trials", 1)
    environment = os.environ | {"HPO_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-m", "hpo", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
