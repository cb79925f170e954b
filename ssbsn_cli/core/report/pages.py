"""HTML from the templates of this package, with everything escaped."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from ssbsn_cli.core.types import count_of

# The quality of pictures in pages, 1 to 100.
QUALITY = 95


def render(template: str, **values: Any) -> Markup:
    """Fill in a template, which is a page or a part of one."""
    return Markup(_environment().get_template(template).render(values))


def encode(page: Markup) -> bytes:
    """Return a page as UTF-8."""
    # File names that are not UTF-8 contain lone surrogates, which cannot be encoded.
    return page.encode("utf-8", "backslashreplace")


def encode_picture(picture: NDArray[np.uint8]) -> str:
    """Return a picture (H, W, 3), RGB, as a data URL with a WebP."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, content = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return "data:image/webp;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def show(value: float | None, form: str) -> str:
    """Format a number; None becomes an empty string."""
    return "" if value is None else format(value, form)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"show": show, "json": json.dumps, "count_of": count_of}
    return environment
