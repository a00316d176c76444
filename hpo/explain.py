"""What pydantic refuses, as sentences for whoever typed it or wrote the file: key, value and bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_TAGS = ("parameters", "fixed", "int", "float", "categorical")  # parts of pydantic's paths that mean nothing to a user


def explain(error: ValidationError, prefix: str = "") -> list[str]:
    """Return one sentence per problem, with key, value and bound."""
    return [_sentence(problem, prefix) for problem in error.errors()]


def _sentence(problem: ErrorDetails, prefix: str) -> str:
    parts = [str(part) for part in problem["loc"] if part not in _TAGS]
    key = prefix + ".".join(parts).replace("_", "-" if prefix else "_")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "missing":
            return f"{key} is missing"
        case "union_tag_not_found" | "union_tag_invalid":
            return f'{key}: needs type = "int", "float" or "categorical", or a value'
        case "value_error" if not prefix:  # our own checks name what they are about
            return f"{key}: {message}" if key else message
        case _:
            return f"{key} = {_shown(problem['input'])}: {message}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python's limit
        return "a number with thousands of digits"
    return text if len(text) <= 60 else text[:60] + "…"
