"""Reading configurations from TOML files, and changing them by options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ssbsn_cli.core.errors import OptionError
from ssbsn_cli.core.training.config import DURATIONS, Config

_SHIPPED = Path(__file__).parent / "configs"


def config_names() -> list[str]:
    """Return the names of the configurations inside the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load_config(
    name_or_path: str,
    settings: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Read a configuration and change it.

    Parameters
    ----------
    name_or_path : str
        One of `config_names`, or a TOML file.
    settings : sequence of str
        Changes as ``section.key=value``, with the value in TOML; other text stands for itself.
    options : mapping, optional
        More changes, by ``section.key``; they are made last, and None changes nothing.

    Returns
    -------
    Config
        Checked. Of the three ways to say how long to train, the last one given counts.

    Raises
    ------
    OptionError
        It cannot be read, or a key or value makes no sense: the message names it.
    """
    content = _read(name_or_path)
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key.strip():
            raise OptionError(
                f"--set {setting!r} is not of the form key=value.",
                "Write for example --set optimizer.ema=0.999.",
            )
        _change(content, key.strip(), _parse(text.strip()))
    for key, value in (options or {}).items():
        if value is not None:
            _change(content, key, value)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "there is no such key"
        elif first["type"] == "missing":
            what = "it is missing"
        raise OptionError(
            f"The configuration {name_or_path}: {where}: {what}.".replace("..", "."),
            "docs/train.md lists the keys and their values.",
        ) from None


def _read(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    if name_or_path in config_names():
        path = _SHIPPED / f"{name_or_path}.toml"
    elif not path.is_file():
        raise OptionError(
            f"There is no configuration {name_or_path!r}.",
            f"Name one of {', '.join(config_names())}, or a TOML file.",
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{name_or_path} is not TOML: {error}.", "Correct that line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.",
            "Give a TOML file.",
        ) from None


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _change(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    if sections == ["training"] and last in DURATIONS:
        # Another length replaces the one that is there.
        for other in DURATIONS:
            if isinstance(content.get("training"), dict):
                content["training"].pop(other, None)
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise OptionError(
                f"The configuration has no key {key}: {section} is a value.",
                "docs/train.md lists the keys and their values.",
            )
    content[last] = value
