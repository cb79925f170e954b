"""Numbers, JSON and TOML from texts that may be damaged or hostile."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

_DEEPEST = 32
_LARGEST = 2**63


def parse_json(content: str | bytes) -> Any:
    """Parse JSON, with bytes in UTF-8, and check that its values are harmless.

    Values may be nested at most 32 levels deep, and integers may have at most 64 bits. All errors
    are a ValueError, whose message is a part of a sentence.
    """
    return _parse(json.loads, content)


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse TOML in UTF-8 with the same limits and errors as `parse_json`."""
    table: dict[str, Any] = _parse(lambda each: tomllib.loads(each.decode("utf-8")), content)
    return table


def whole_number(text: str) -> int | None:
    """Parse a number, from 0; return None for other text and for more than 9 digits."""
    # Python refuses to parse thousands of digits.
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _parse(parse: Callable[[Any], Any], content: str | bytes) -> Any:
    try:
        value = parse(content)
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError):
        raise
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    # Python refuses to parse numbers with thousands of digits.
    except ValueError:
        raise ValueError("it holds a number that is too large") from None
    _refuse_harmful(value, _DEEPEST)
    return value


def _refuse_harmful(value: object, deepest: int) -> None:
    if isinstance(value, dict | list):
        if not deepest:
            raise ValueError("its values are nested too deeply")
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _refuse_harmful(part, deepest - 1)
    elif isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError("it holds a number that is too large")
