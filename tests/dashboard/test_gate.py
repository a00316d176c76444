"""The dashboard answers its own pages under this machine's names, and nobody else's; asked over real HTTP."""

import http.client
import json
import threading

import optuna
import pytest

from hpo.dashboard.server import artifacts_folder, server
from hpo.store.database import locate, open_database

PICTURE = "0b5c1b2e-0000-4000-8000-000000000000"
EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A dashboard over a database of one study, with an HTML artifact; return its port, and what tells the studies' names."""
    location = locate(str(tmp_path_factory.mktemp("served") / "hpo.db"))
    storage = open_database(location, create=True).storage
    optuna.create_study(study_name="precious", storage=storage)
    entry = {"artifact_id": PICTURE, "filename": "x.html", "mimetype": "text/html", "encoding": None}
    storage.set_study_system_attr(1, f"artifacts:{PICTURE}", json.dumps(entry))
    artifacts_folder(location).mkdir(parents=True)
    (artifacts_folder(location) / PICTURE).write_text("<script>alert(1)</script>")
    with server(location) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made.server_port, lambda: [study.study_name for study in storage.get_all_studies()]
        made.shutdown()
        thread.join()


def asked(port, method, path, **headers):
    """Send a request with exactly these headers; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost", "LOCALHOST:9000", "[::1]:8080"])
def test_this_machines_own_names_are_answered(served, host):
    status, headers, body = asked(served[0], "GET", "/api/studies", Host=host.format(port=served[0]))
    assert (status, b"precious" in body) == (200, True)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "[",
        "",
        None,
        "0.0.0.0",
        "192.168.0.7",
    ],
)
def test_any_other_name_is_refused_with_a_sentence(served, host):
    status, _, body = asked(served[0], "GET", "/api/studies", Host=host)
    assert (status, b"precious" in body, b"127.0.0.1" in body) == (403, False, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "document"},
    ],
)
def test_other_pages_can_neither_change_nor_remove_anything(served, headers):
    port, names = served
    given = {name: value.format(port=port) for name, value in headers.items()}
    for method, path in (("DELETE", "/api/studies/1"), ("POST", "/api/studies"), ("PUT", "/api/studies/1/note")):
        assert asked(port, method, path, **given)[0] == 403
    assert names() == ["precious"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": EVIL}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}, 200),  # a link to the dashboard
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "empty"}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
    ],
)
def test_other_pages_can_link_to_it_and_read_nothing(served, headers, status):
    given = {name: value.format(port=served[0]) for name, value in headers.items()}
    found, answered, _ = asked(served[0], "GET", "/api/studies", **given)
    assert found == status
    assert "Access-Control-Allow-Origin" not in answered


def test_an_artifact_is_shown_and_runs_nothing(served):
    status, headers, body = asked(served[0], "GET", f"/artifacts/1/{PICTURE}")
    assert (status, body) == (200, b"<script>alert(1)</script>")
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_its_own_page_may_remove_a_study(served):
    port, names = served
    assert asked(port, "DELETE", "/api/studies/1", Origin=f"http://127.0.0.1:{port}")[0] in (200, 204)
    assert names() == []
