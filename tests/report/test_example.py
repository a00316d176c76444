"""The report of a real study that the README links to: small, complete in itself, and nothing of the machine that made it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, look
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "reports" / "example.html"


class Page(HTMLParser):
    """What the page asks for, and its texts outside of plotly's script."""

    def __init__(self) -> None:
        super().__init__()
        self.links, self.texts, self.policy, self.scripts = [], [], "", []
        self.feed(EXAMPLE.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[name] for name in ("href", "src", "action", "data", "srcset") if name in given]
        self.texts += [value for name, value in attrs if value and name not in ("src", "content")]
        self.policy = given["content"] if given.get("http-equiv") == "Content-Security-Policy" else self.policy
        self.scripts += [given.get("type", "")] if tag == "script" else []

    def handle_data(self, data):
        if len(data) < 4_000_000:  # plotly is longer
            self.texts.append(data)


@pytest.fixture(scope="module")
def page():
    return Page()


def test_it_is_small_enough_to_be_committed():
    assert EXAMPLE.stat().st_size < 6_000_000


def test_its_picture_is_a_first_screen_of_less_than_300_kb():
    picture = EXAMPLE.with_suffix(".png")
    assert picture.stat().st_size < 300_000
    with Image.open(picture) as image:
        assert image.size == (1400, 1000)


def test_it_asks_for_nothing(page):
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert page.policy.startswith("default-src 'none'")


def test_it_tells_nothing_of_the_machines_folders(page):
    text = "\n".join(page.texts)
    assert re.findall(r"(?<![\w.])(?:/(?:home|root|tmp|work|Users|mnt|media|opt|srv|var)/|[A-Z]:\\)[^\s\"'<]*", text) == []


def test_it_is_a_real_study_of_cifar10(page):
    table = json.loads(max((text for text in page.texts if text.startswith('{"name"')), key=len))
    assert len(table["rows"]) >= 30
    assert {"depth", "filters", "dropout", "lr"} <= set(table["columns"])
    assert "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck" in page.texts
    assert "limit_train" not in page.texts
    assert sum(link.startswith("data:image/png") for link in page.links) == 48


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.timeout(300)
def test_every_figure_is_drawn(page):
    seen = look(EXAMPLE)
    assert (seen.console, seen.requests) == ([], [])
    assert seen.drawn == sum(text == "drawing" for text in page.texts)
