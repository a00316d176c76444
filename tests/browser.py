"""What a page does in Chromium, by the DevTools protocol over a pipe: console, requests, time, DOM, pictures."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


class Seen(NamedTuple):
    """One look at a page.

    Attributes:
        dom: The document after its scripts ran.
        console: Messages, uncaught errors and violations of the page's policy.
        requests: Addresses that the page asked for, other than itself and data inside it.
        drawn: Figures that were drawn; None if the drawing did not end in time.
        milliseconds: From the start of the navigation to the last figure drawn.
        processor: Seconds that the page's own thread worked; hardly more on a busy machine.
        overflow: Pixels by which the page is wider than its window.
        answer: What the script asked for came to.
    """

    dom: str
    console: list[str]
    requests: list[str]
    drawn: int | None
    milliseconds: int | None
    processor: float
    overflow: int
    answer: Any


class Browser:
    """A Chromium that listens on a pipe; messages are JSON, each ended by a zero byte."""

    def __init__(self, profile: str) -> None:
        down, up = os.pipe(), os.pipe()

        def connect() -> None:  # Chromium reads descriptor 3 and writes descriptor 4
            os.dup2(os.dup(down[0]), 3)
            os.dup2(os.dup(up[1]), 4)

        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(command, preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL)  # noqa: PLW1509 - no threads here
        os.close(down[0])
        os.close(up[1])
        self._in, self._out = os.fdopen(down[1], "wb"), os.fdopen(up[0], "rb", buffering=1 << 20)
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        self._lines = self._read()
        self._n = 0

    @contextlib.contextmanager
    def tab(self) -> Iterator[None]:
        """Ask a new tab, and hear of nothing else, for as long as that lasts."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.events.clear()
        try:
            yield
        finally:
            self._session = None
            self.ask("Target.closeTarget", targetId=target)

    def _read(self) -> Iterator[dict[str, Any]]:
        rest = b""
        while chunk := os.read(self._out.fileno(), 1 << 20):
            *lines, rest = (rest + chunk).split(b"\0")
            yield from map(json.loads, lines)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        self._in.write(json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        self._in.flush()
        for answer in self._lines:
            if answer.get("id") == self._n:
                return answer["result"]
            self.events.append(answer)
        raise RuntimeError("the browser is gone")

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True)[
            "result"
        ].get("value")

    def close(self) -> None:
        self.ask("Browser.close")
        self._in.close()
        self._process.wait(20)
        self._out.close()


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser with a profile of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            yield browser
        finally:
            browser.close()


def look(page: Path, browser: Browser | None = None, **how: Any) -> Seen:
    """Look at a page in a new tab of a browser, or in a new browser; `how` is as `_look` takes it."""
    with contextlib.nullcontext(browser) if browser else browsing() as used, used.tab():
        return _look(page, used, **how)


def _look(
    page: Path,
    browser: Browser,
    *,
    width: int = 1280,
    height: int = 1000,
    dark: bool = False,
    picture: Path | None = None,
    script: str = "",
    seconds: int = 120,
    settle: float = 0,
) -> Seen:
    """Open a page in a window of `width` x `height` pixels, wait until its figures are drawn, run `script`, tell what happened.

    With `settle`, wait so many seconds first: a browser that has just begun is busy with itself, and times would be its own.
    """
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.ask(f"{domain}.enable")
    browser.ask("Performance.enable", timeDomain="threadTicks")
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.ask("Emulation.setEmulatedMedia", features=[scheme])
    browser.ask("Emulation.setFocusEmulationEnabled", enabled=True)
    browser.ask("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.ask("Emulation.setDeviceMetricsOverride", **size)
    time.sleep(settle)
    browser.ask("Page.navigate", url=page.resolve().as_uri())
    end = time.monotonic() + seconds
    while not browser.value("document.documentElement.dataset.drawn") and time.monotonic() < end:
        time.sleep(0.05)
    drawn, milliseconds, dom, wide = (
        browser.value(f"document.documentElement.{name}")
        for name in ("dataset.drawn", "dataset.milliseconds", "outerHTML", "scrollWidth")
    )
    metrics = {one["name"]: one["value"] for one in browser.ask("Performance.getMetrics")["metrics"]}
    answer = browser.value(script) if script else None
    if picture:
        whole = {"captureBeyondViewport": True, "clip": _whole(browser, width)}
        picture.write_bytes(base64.b64decode(browser.ask("Page.captureScreenshot", **whole)["data"]))
    number = int(drawn) if drawn else None
    took = int(milliseconds or 0), metrics["TaskDuration"]
    return Seen(dom, _console(browser.events), _requests(browser.events), number, *took, wide - width, answer)


def _whole(browser: Browser, width: int) -> dict[str, float]:
    height = browser.value("document.documentElement.scrollHeight")
    return {"x": 0, "y": 0, "width": width, "height": min(height, 16_000), "scale": 1}


def _console(events: list[dict[str, Any]]) -> list[str]:
    kinds = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    return [json.dumps(event["params"])[:500] for event in events if event["method"] in kinds]


def _requests(events: list[dict[str, Any]]) -> list[str]:
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in sent[1:] if not url.startswith("data:")]  # the first is the page itself
