"""optuna-dashboard beside a run, over HTTP as a browser asks it."""

import json
import signal
import socket
import time
import urllib.request
from urllib.parse import urlsplit

import pytest
from running import DIGITS, Hpo


@pytest.fixture(scope="module")
def hpo(tmp_path_factory, cache):
    program = Hpo(tmp_path_factory.mktemp("dashboard"), cache)
    yield program
    program.close()


@pytest.fixture(scope="module")
def run(hpo):
    """A run that does not end by itself."""
    words = ("--workers", 1, "--epochs", 10_000, "--space", "short.toml", "-v", *DIGITS)
    return hpo.start("run", "watched", *words).says("trial 0 epoch 2/")


@pytest.fixture(scope="module")
def dashboard(hpo, run):
    assert run.process.poll() is None
    return hpo.start("dashboard").says("Press Ctrl-C to stop.")


@pytest.fixture(scope="module")
def address(dashboard):
    return dashboard.out.strip()


def get(address, path):
    parts = urlsplit(address)
    with urllib.request.urlopen(f"http://{parts.netloc}{path}", timeout=20) as response:
        return response.read()


def trials(address, study):
    return json.loads(get(address, f"/api/studies/{study}?after=0"))["trials"]


def test_it_says_its_address_on_loopback_and_nothing_else_on_standard_output(address):
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("/dashboard/")
    assert b"<title>Optuna Dashboard</title>" in get(address, "/dashboard/")


def test_it_shows_the_study_and_its_trial_while_it_is_trained(address, run):
    (study,) = json.loads(get(address, "/api/studies"))["study_summaries"]
    assert study["study_name"] == "watched"
    before = len(trials(address, study["study_id"])[0]["intermediate_values"])
    end = time.monotonic() + 60
    while len((shown := trials(address, study["study_id"]))[0]["intermediate_values"]) < before + 3:
        assert run.process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    assert [trial["number"] for trial in shown] == [0]
    assert shown[0]["state"] == "Running"
    assert {parameter["name"] for parameter in shown[0]["params"]} == {"depth", "filters", "lr"}


def test_a_browsers_idle_connection_does_not_keep_others_waiting(address):
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port)):  # as browsers open in advance
        assert json.loads(get(address, "/api/studies"))["study_summaries"]


def test_ctrl_c_ends_it_with_130_and_the_run_goes_on(address, dashboard, run):
    assert address
    dashboard.signal(signal.SIGINT)
    assert dashboard.ended(seconds=60) == 130
    assert "Traceback" not in dashboard.err
    assert run.process.poll() is None


def test_without_a_database_it_says_so_and_makes_none(hpo):
    refused = hpo("dashboard", "--storage", "nothing.db")
    assert refused.ended() == 4
    assert refused.err.startswith("error: there is no database nothing.db yet.")
    assert not (hpo.folder / "nothing.db").exists()
