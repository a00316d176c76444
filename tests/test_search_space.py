"""A search space is sound or refused in a sentence, whoever wrote its file, and every point of it is a valid configuration."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.builtin.convnet import OBJECTIVE, PRESETS, Config
from hpo.errors import SpaceError
from hpo.parameters import Choices, Fixed, FloatRange, IntRange
from hpo.search_space import SearchSpace

INTS = {"depth": (1, 8), "filters": (1, 2048), "hidden": (0, 8192), "batch_size": (0, 65536), "shift": (0, 16), "cutout": (0, 32)}
FLOATS = {
    "dropout": (0, 0.95),
    "lr": (1e-9, 100),
    "growth": (0.25, 8),
    "momentum": (0, 0.999),
    "weight_decay": (0, 1),
    "label_smoothing": (0, 0.999),
}
WORDS = {
    "kernel": (1, 3, 5, 7),  # numbers with gaps
    "stem": ("none", "whiten"),
    "norm": ("none", "batch", "group"),
    "activation": ("relu", "gelu", "silu"),
    "pool": ("early", "late"),
    "optimizer": ("sgd", "adamw", "muon"),
    "schedule": ("constant", "one-cycle", "falling"),
    "convolutions": (2, 3),
    "norm_scale": (False, True),
    "start": ("random", "identity"),
    "nesterov": (False, True),
    "standardize": (False, True),
    "flip": (False, True),
    "tta": (False, True, "shifted"),
}


@st.composite
def ranges(draw, low, high, kind):
    """A range within the bounds, with a default in it: plain, logarithmic or in steps."""
    numbers = st.integers(low, high) if kind == "int" else st.floats(low, high)
    low, high = sorted((draw(numbers), draw(numbers)))
    how = draw(st.sampled_from(["plain", "step", "log"]))
    if how == "step" and high > low:
        step = draw(st.integers(1, high - low)) if kind == "int" else (high - low) / draw(st.integers(1, 50))
        default = low + step * draw(st.integers(0, int((high - low) / step) if kind == "int" else 1))
        return {"type": kind, "low": low, "high": high, "step": step, "default": min(default, high)} if step > 0 else low
    default = draw(st.integers(low, high) if kind == "int" else st.floats(low, high))
    return {"type": kind, "low": low, "high": high, "log": how == "log" and low > 0, "default": default}


def choices(values):
    """A few of the values in any order, one of them the default."""
    some = st.lists(values, min_size=1, max_size=4, unique=True)
    return some.flatmap(lambda drawn: st.builds(dict, choices=st.just(drawn), default=st.sampled_from(drawn)))


def parameters():
    """Any sound set of parameters: fixed, ranges, choices."""
    kinds = {}
    for name, (low, high) in INTS.items():
        kinds[name] = st.integers(low, high) | ranges(low, high, "int") | choices(st.integers(low, high))
    for name, (low, high) in FLOATS.items():
        kinds[name] = st.floats(low, high) | ranges(low, high, "float") | choices(st.floats(low, high))
    for name, values in WORDS.items():
        kinds[name] = st.sampled_from(values) | choices(st.sampled_from(values))
    return st.fixed_dictionaries({}, optional=kinds)


def points(space):
    """Any point of a space, as a sampler may propose it."""

    def values(p):
        if hasattr(p, "choices"):
            return st.sampled_from(p.choices)
        if p.step:
            return st.integers(0, math.floor((p.high - p.low) / p.step + 1e-9)).map(lambda n: min(p.low + n * p.step, p.high))
        return st.integers(p.low, p.high) if p.type == "int" else st.floats(p.low, p.high)

    return st.fixed_dictionaries({}, optional={name: values(p) for name, p in space.varied.items()})


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
spaces = st.builds(SearchSpace.of, names, parameters(), knobs=st.just(Config))


@pytest.mark.parametrize(
    ("name", "n_varied"),
    [("basic", 4), ("wide", 16), ("tutorial", 4)],
)
def test_a_preset_varies_the_four_of_the_brief_and_wide_more(name, n_varied):
    space = OBJECTIVE.space(name)
    assert list(space.varied)[:4] == ["depth", "filters", "dropout", "lr"]
    assert len(space.varied) == n_varied
    assert space.point() == space.point(space.default)


def test_a_space_names_every_parameter_in_configs_order():
    space = SearchSpace.of("s", {"lr": 0.1, "depth": {"type": "int", "low": 1, "high": 2, "default": 1}}, knobs=Config)
    assert list(space.parameters) == list(Config.model_fields)
    assert space.parameters["lr"] == Fixed(value=0.1)
    assert list(space.varied) == ["depth"]


def test_what_a_space_file_leaves_out_is_trained_as_ever_and_not_on_the_recipe_of_basic():
    """So a file that somebody wrote for an older hpo means the same."""
    space = SearchSpace.of("mine", {"depth": {"type": "int", "low": 2, "high": 4, "default": 3}}, Config)
    assert space.point() == Config().model_dump()
    assert (space.point()["optimizer"], OBJECTIVE.space("basic").point()["optimizer"]) == ("sgd", "muon")


def test_the_default_point_of_tutorial_is_the_tutorials_network():
    config = Config(**OBJECTIVE.space("tutorial").point())
    assert (config.depth, config.filters, config.dropout, config.hidden, config.batch_size) == (1, 32, 0.5, 512, 32)
    assert (config.stem, config.norm, config.schedule, config.lr, config.momentum) == ("none", "none", "constant", 1e-3, 0.9)
    assert not any((config.nesterov, config.standardize, config.flip, config.shift, config.weight_decay, config.label_smoothing))
    assert not config.tta


@given(spaces | st.sampled_from(sorted(PRESETS)).map(OBJECTIVE.space))
def test_a_space_written_as_toml_is_read_back_equal(tmp_path_factory, space):
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(space.to_toml(), encoding="utf-8")
    assert SearchSpace.from_toml(path) == space


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_a_space_file_saved_by_a_windows_tool_is_read(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    path.write_bytes(f'{mark}name = "größer"\r\nlr = 0.1\r\n'.encode(encoding))
    assert SearchSpace.from_toml(path).name == "größer"
    assert SearchSpace.from_toml(path).point() == {"lr": 0.1}


@pytest.mark.parametrize(
    ("content", "said"),
    [("name = 'é'".encode("latin-1"), "byte 8 is not UTF-8; save the file as UTF-8"), (b"\xff\xfen", "byte 2 is not UTF-16")],
)
def test_an_encoding_that_cannot_be_read_is_named(tmp_path, content, said):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(SpaceError, match=rf"mine\.toml is not TOML: {said}"):
        OBJECTIVE.space(str(tmp_path / "mine.toml"))


def test_a_space_begins_with_its_default_point_and_then_its_starts(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "starts = [{ lr = 0.5 }, {}]\ndepth = { low = 1, high = 4, default = 2, type = 'int' }\n"
        "lr = { low = 0.1, high = 1.0, default = 0.2, type = 'float' }\n"
    )
    default = {"depth": 2, "lr": 0.2}
    assert SearchSpace.from_toml(path).first == [default, {"depth": 2, "lr": 0.5}, default]


@given(spaces)
def test_a_space_stored_as_json_is_read_back_equal(space):
    assert SearchSpace.model_validate(json.loads(json.dumps(space.model_dump(mode="json")))) == space


@given(spaces, st.data())
def test_any_point_of_a_space_is_a_configuration(space, data):
    point = data.draw(points(space))
    config = Config(**space.point(point)).model_dump()
    assert {name: config[name] for name in point} == point
    assert all(config[name] == p.default for name, p in space.parameters.items() if name not in point)


@given(spaces)
def test_a_space_of_defaults_is_whole_numbers_true_and_words_of_the_right_type(space):
    config = Config(**space.point())
    for name, value in Config().model_dump().items():
        assert type(getattr(config, name)) in ({bool, str} if name == "tta" else {type(value)})


def test_kernel_takes_a_range_that_steps_over_its_gaps():
    space = SearchSpace.of("s", {"kernel": {"type": "int", "low": 1, "high": 7, "step": 2, "default": 3}})
    assert space.point({"kernel": 5})["kernel"] == 5


@pytest.mark.parametrize(
    ("point", "parts"),
    [
        ({"depth": 9}, ["depth = 9", "outside its range", "'basic'"]),
        ({"filters": 17}, ["filters = 17", "outside its range"]),
        ({"lr": math.nan}, ["lr = nan", "outside its range"]),
        ({"lr": "0.1"}, ["lr = '0.1'", "outside its range"]),
        ({"kernel": 5}, ["kernel = 5", "outside its range"]),
        ({"dept": 3}, ["no parameter 'dept'", "Did you mean 'depth'?"]),
    ],
)
def test_a_point_outside_its_space_is_refused(point, parts):
    with pytest.raises(SpaceError) as caught:
        OBJECTIVE.space("basic").point(point)
    for part in parts:
        assert part in str(caught.value)


INT = 'depth = { type = "int", low = 1, high = 4, default = 2'
BROKEN = [
    ("", ["names no parameter", "hpo space --toml"]),
    ('name = "x"', ["names no parameter"]),
    ("name = 3\nlr = 0.1", ["name = 3", "string"]),
    ('name = ""\nlr = 0.1', ["name"]),
    ("lr = ", ["is not TOML"]),
    ("lr = 0.1\nlr = 0.2", ["is not TOML", "Cannot overwrite"]),
    ("lr = " + "[" * 100_000, ["is not TOML"]),
    ("x" * 5000, ["is not TOML"]),
    ("learning_rate = 0.1", ["no parameter 'learning_rate'"]),
    ("dept = 3", ["no parameter 'dept'", "Did you mean 'depth'?"]),
    (INT + ", min = 3 }", ["depth.min", "unknown key"]),
    ('depth = { type = "int", low = 1, default = 2 }', ["depth.high", "missing"]),
    ('depth = { type = "int", low = 1, high = 3 }', ["depth.default", "missing"]),
    ("depth = { low = 1, high = 3, default = 2 }", ["depth", 'type = "int", "float" or "categorical"']),
    ('depth = { type = "integer", low = 1, high = 3, default = 2 }', ["depth", 'type = "int", "float" or "categorical"']),
    ('depth = { type = "int", low = 4, high = 2, default = 3 }', ["depth", "low = 4 is above high = 2"]),
    ('depth = { type = "int", low = 1, high = 2, default = 3 }', ["depth", "default = 3 is outside 1 to 2"]),
    ('depth = { type = "int", low = 1.5, high = 4, default = 2 }', ["depth.low", "1.5", "integer"]),
    ('depth = { type = "int", low = "1", high = 4, default = 2 }', ["depth.low", "'1'", "integer"]),
    ('depth = { type = "int", low = true, high = 4, default = 2 }', ["depth.low", "True", "integer"]),
    ('depth = { type = "int", low = 0, high = 4, default = 2 }', ["depth = 0", "greater than or equal to 1"]),
    ('depth = { type = "int", low = 1, high = 9, default = 2 }', ["depth = 9", "less than or equal to 8"]),
    (INT + ", step = 0 }", ["depth", "step = 0 must be above 0"]),
    (INT + ", step = -1 }", ["depth", "step = -1 must be above 0"]),
    (INT + ", step = 2 }", ["depth", "default = 2", "whole number of steps (step = 2)"]),
    (INT + ", step = 1, log = true }", ["depth", "log and step"]),
    ('shift = { type = "int", low = 0, high = 4, default = 2, log = true }', ["shift", "low = 0 must be above 0", "log = true"]),
    ('lr = { type = "float", low = 0.0, high = 1.0, default = 0.1, log = true }', ["lr", "low = 0 must be above 0"]),
    ('lr = { type = "float", low = -1.0, high = 1.0, default = 0.1, log = true }', ["lr", "low = -1 must be above 0"]),
    ('lr = { type = "float", low = 0.0, high = 1.0, default = 0.1 }', ["lr = 0", "greater than 0"]),
    ('lr = { type = "float", low = nan, high = 1.0, default = 0.1 }', ["lr.low", "nan", "finite"]),
    ('lr = { type = "float", low = 0.1, high = inf, default = 0.1 }', ["lr.high", "inf", "finite"]),
    ('lr = { type = "float", low = 0.1, high = 1.0, default = nan }', ["lr.default", "nan", "finite"]),
    ('lr = { type = "float", low = 0.1, high = 1.0, default = 0.1, log = 1 }', ["lr.log", "1", "boolean"]),
    ("lr = nan", ["lr", "nan"]),
    ("lr = 1e3", ["lr = 1000", "less than or equal to 100"]),
    ('lr = "fast"', ["lr = 'fast'", "number"]),
    ("lr = 2020-01-01", ["lr", "2020"]),
    ("lr = []", ["lr", "[]"]),
    ("lr = { value = { value = 1 } }", ["lr", "{'value': 1}"]),
    ("[lr]", ["lr", 'type = "int", "float" or "categorical"']),
    ("[[lr]]\nvalue = 1", ["lr"]),
    ("norm = { choices = [], default = 'batch' }", ["norm.choices", "at least 1"]),
    ("norm = { choices = ['batch', 'batch'], default = 'batch' }", ["norm", "twice", "['batch', 'batch']"]),
    ("norm = { choices = ['batch'], default = 'group' }", ["norm", "default = 'group'", "['batch']"]),
    ("norm = { choices = ['batch', 'layer'], default = 'batch' }", ["norm = 'layer'", "'none', 'batch' or 'group'"]),
    ("norm = { choices = 'batch', default = 'batch' }", ["norm.choices", "'batch'"]),
    ("lr = { choices = [0.1, nan], default = 0.1 }", ["lr.choices", "nan"]),
    ("lr = { choices = [1, 1.0], default = 1 }", ["lr", "twice"]),
    ("kernel = { choices = [1, 3], default = true }", ["kernel", "True"]),
    ("kernel = { choices = [1, 3], default = 3.0 }", ["kernel", "3.0"]),
    ("kernel = 2", ["kernel = 2", "1, 3, 5 or 7"]),
    ("kernel = 3.0", ["kernel = 3.0", "whole number"]),
    ("kernel = true", ["kernel = True", "whole number"]),
    ("kernel = { type = 'int', low = 1, high = 7, default = 3 }", ["kernel = 2", "1, 3, 5 or 7"]),
    ("kernel = { type = 'float', low = 1.0, high = 7.0, default = 3.0 }", ["kernel = 1.0", "whole number"]),
    ("flip = 1", ["flip = 1", "boolean"]),
    ("flip = { type = 'int', low = 0, high = 1, default = 0 }", ["flip", "boolean"]),
    ("starts = 1\nlr = 0.1", ["starts", "1"]),
    ("starts = [{ lr = 0.1 }]\nlr = 0.1", ["starts", "lr = 0.1", "varied"]),
    ("starts = [{ filters = 64 }]\nfilters = { low = 8, high = 32, default = 8, type = 'int' }", ["starts", "filters = 64"]),
    ("starts = [{ filters = '8' }]\nfilters = { low = 8, high = 32, default = 8, type = 'int' }", ["starts", "filters = '8'"]),
    ("depth = 99999999999999999999999", ["depth", "less than or equal to 8"]),
    (f"depth = {{ type = 'int', low = 1, high = 1{'0' * 400}, default = 2 }}", ["depth"]),
    (f"lr = {{ type = 'float', low = 1, high = 1{'0' * 400}, default = 2 }}", ["lr"]),
    (f"lr = {{ type = 'int', low = 1{'0' * 400}, high = 1, default = 2 }}", ["lr"]),
    (f"depth = 0x{'f' * 5000}", ["thousands of digits"]),
    (f"depth = {{ type = 'int', low = 0x{'f' * 5000}, high = 1, default = 2 }}", ["depth.low", "thousands of digits"]),
]


@pytest.mark.parametrize(("text", "parts"), BROKEN, ids=[text[:60] for text, _ in BROKEN])
def test_a_broken_file_is_refused_with_file_key_value_and_bound(tmp_path, text, parts):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        OBJECTIVE.space(str(path))
    for part in [str(path), *parts]:
        assert part in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 600


def test_a_missing_file_is_refused_with_the_command_that_writes_one(tmp_path):
    with pytest.raises(SpaceError, match=r"there is no space file .*mine\.toml.*hpo space --toml > mine\.toml"):
        OBJECTIVE.space(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folder.toml", "is not a file"),
        ("file/below.toml", "Not a directory"),
        ("x" * 300 + ".toml", "File name too long"),
        ("latin1.toml", "is not TOML"),
    ],
)
def test_a_path_that_holds_no_text_is_refused_in_a_sentence(tmp_path, name, says):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "latin1.toml").write_bytes("name = 'é'".encode("latin-1"))
    with pytest.raises(SpaceError, match=says):
        OBJECTIVE.space(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "hint"), [("basik", "Did you mean 'basic'?"), ("zzz", "basic, large, photos, tutorial, wide"), ("x" * 300, ".toml")]
)
def test_an_unknown_preset_is_refused_with_the_nearest(name, hint):
    with pytest.raises(SpaceError) as caught:
        OBJECTIVE.space(name)
    assert hint in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_space_or_a_space_error(tmp_path_factory, content):
    _read(tmp_path_factory, content)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
    | st.sampled_from([10**400, -(10**4000)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["type", "low", "high", "step", "log", "default", "choices", "value"])
tables = st.dictionaries(
    st.sampled_from([*Config.model_fields, "name", "starts", "other"]),
    values | st.dictionaries(keys, values | st.sampled_from(["int", "float", "categorical", "fixed"]), max_size=6),
    max_size=4,
)


@given(tables)
def test_any_table_is_a_space_or_a_space_error(table):
    with contextlib.suppress(SpaceError):
        SearchSpace.of("any", table, knobs=Config).point()


@given(tables)
def test_any_toml_is_a_space_or_a_space_error(tmp_path_factory, table):
    _read(tmp_path_factory, "\n".join(f"{key} = {_inline(value)}" for key, value in table.items()).encode())


def _inline(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value) if isinstance(value, (str, bool)) else str(value)


def _read(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with contextlib.suppress(SpaceError):
        SearchSpace.from_toml(path, Config).point()


def test_every_preset_comes_back_from_its_own_file(tmp_path):
    for name in PRESETS:
        path = tmp_path / f"{name}.toml"
        path.write_text(OBJECTIVE.space(name).to_toml())
        assert OBJECTIVE.space(str(path)) == OBJECTIVE.space(name)


WHOLE = IntRange(type="int", low=1, high=5, default=1)
ODD = IntRange(type="int", low=1, high=7, step=2, default=1)
HUGE = IntRange(type="int", low=0, high=2**53, default=0)
REAL = FloatRange(type="float", low=0.0, high=3.0, default=0.5)
GRID = FloatRange(type="float", low=0.0, high=3.0, step=0.1, default=0.5)
NUMBERS = Choices(type="categorical", choices=(1, 2), default=1)
SWITCH = Choices(type="categorical", choices=(True, "auto"), default=True)


@pytest.mark.parametrize(
    ("parameter", "within", "outside"),
    [
        (WHOLE, (1, 5, 3.0), (0, 6, 2.5, True, "2", math.nan, math.inf, 10**400)),
        (ODD, (1, 7), (2, 6, 1.5, True)),
        (HUGE, (2**53, 2**53 - 1, 1e15), (1e15 + 0.5, 2**53 + 1)),
        (REAL, (0, 3, 0.123), (True, False, "1", math.nan, math.inf, -math.inf, -(10**400))),
        (GRID, (0.3, 3.0, 0), (0.25, True, math.nan)),
        (NUMBERS, (1, 2, 2.0), (True, 3, "1", math.nan)),
        (SWITCH, (True, "auto"), (1, 1.0, False, "Auto")),
        (Fixed(value=1), (1, 1.0), (True, "1", 2, math.nan)),
        (Fixed(value=False), (False,), (0, 0.0, "", True)),
    ],
)
def test_a_parameter_holds_its_own_values_and_no_others(parameter, within, outside):
    assert [value for value in within if not parameter.holds(value)] == []
    assert [value for value in outside if parameter.holds(value)] == []
