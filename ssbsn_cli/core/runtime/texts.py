"""Parsing JSON and TOML that anybody may have written: whatever is wrong is one ValueError."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

_DEEPEST = 32
_LARGEST = 2**63


def parse_json(content: str | bytes) -> Any:
    """Parse JSON, whose bytes are UTF-8, and check that its values are harmless.

    They are nested at most 32 deep, and integers have at most 64 bits. Otherwise, or if it is no
    JSON, this raises ValueError, whose message is a part of a sentence that says what it is.
    """
    return _parse(json.loads, content)


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse TOML in UTF-8 as `parse_json` parses JSON, and raise ValueError as that does."""
    table: dict[str, Any] = _parse(lambda each: tomllib.loads(each.decode("utf-8")), content)
    return table


def _parse(parse: Callable[[Any], Any], content: str | bytes) -> Any:
    try:
        value = parse(content)
    except UnicodeDecodeError:
        raise ValueError("it is no text in UTF-8") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError):
        raise
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    # Python refuses to read numbers of thousands of digits.
    except ValueError:
        raise ValueError("it holds a number that is too large") from None
    _check(value, _DEEPEST)
    return value


def _check(value: object, deepest: int) -> None:
    if isinstance(value, dict | list):
        if not deepest:
            raise ValueError("its values are nested too deeply")
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(part, deepest - 1)
    elif isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError("it holds a number that is too large")
