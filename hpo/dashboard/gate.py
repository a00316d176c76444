"""Access to the dashboard: only for its own pages, requested under the names of this machine.

optuna-dashboard has no login and checks neither Host nor Origin. Without this gate, any page in a browser could ask it to delete
a study, and a page whose domain name points to 127.0.0.1 could read all answers. Artifacts are files that anybody may have put
into the database: an HTML file among them could otherwise run scripts with the rights of the dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

NAMES = {"127.0.0.1", "localhost", "::1"}  # on any port, since `ssh -L` may use another one
ARTIFACTS = "/artifacts/"
_EVERYWHERE = [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "same-origin")]
_OF_ARTIFACTS = ("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'")


def gate(app: WSGIApplication) -> WSGIApplication:
    """Return the application behind the gate: a refused request is answered with 403 and a sentence."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if why := refusal(environ):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8"), *_EVERYWHERE])
            return [f"{why}\n".encode()]
        of_artifact = str(environ.get("PATH_INFO", "")).startswith(ARTIFACTS)

        def started(status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:  # noqa: ANN401  # as WSGI has it
            kept = [(name, value) for name, value in headers if name.lower() != "access-control-allow-origin"]
            return start_response(status, [*kept, *_EVERYWHERE, *([_OF_ARTIFACTS] if of_artifact else [])], *error)

        return app(environ, started)

    return guarded


def refusal(environ: WSGIEnvironment) -> str:
    """Return why a request is refused; empty if it is answered."""
    host = str(environ.get("HTTP_HOST", ""))
    if _name(host) not in NAMES:
        return f"The dashboard answers to 127.0.0.1 and localhost, not to {host[:100]!r}."
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin != f"http://{host}":
        return "The dashboard answers only its own pages, and this request comes from another page."
    navigates = environ.get("REQUEST_METHOD") in ("GET", "HEAD") and environ.get("HTTP_SEC_FETCH_DEST") == "document"
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin") and not navigates:
        return "The dashboard's answers cannot be part of other pages."
    return ""


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if "@" not in host else None
    except ValueError:
        return None
