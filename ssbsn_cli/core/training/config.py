"""The configuration of a training: a TOML file, changed by options, checked, written in full.

docs/train.md explains each key; a test compares the two lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssbsn_cli.core.errors import OptionError, explain_unreadable
from ssbsn_cli.core.runtime.parsing import parse_toml
from ssbsn_cli.core.types import CompileKind, RefineKind

_SHIPPED = Path(__file__).parent / "configs"
_LENGTHS = ("steps", "epochs", "max_minutes")
HINT = "docs/train.md lists the keys and their values."

ObjectiveKind = Literal["self", "synthetic", "own", "distill", "pairs"]
# The objectives of blind-spot networks, whose targets are the noisy crops themselves.
BLINDLY: tuple[ObjectiveKind, ...] = ("self", "synthetic")
LossKind = Literal["l1", "psnr"]
_Share = Annotated[float, Field(ge=0, le=1e9)]
_Stride = Annotated[int, Field(ge=1, le=64)]
_Part = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1, le=10**9)]
# A million minutes is two years.
_Length = Annotated[float, Field(gt=0, le=1e6)]
_Side = Annotated[int, Field(ge=8, le=8192)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(_Section):
    """The network, as in `ssbsn_cli.core.model.descriptor.Descriptor`."""

    architecture: str
    refine: RefineKind = "r3"
    halo: Annotated[int, Field(ge=0, le=1024)] = 8
    detail: bool = False
    parameters: dict[str, Any] = {}


class TrainingConfig(_Section):
    """The steps of a training. Exactly one of steps, epochs and max_minutes is given."""

    steps: _Count | None = None
    epochs: _Length | None = None
    max_minutes: _Length | None = None
    most_steps: _Count | None = None
    rounds: Annotated[int, Field(ge=1, le=9)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 4
    crop: _Side = 120
    pd_a: Annotated[tuple[_Stride, ...], Field(min_length=1)] = (5,)
    objectives: Annotated[dict[ObjectiveKind, _Share], Field(min_length=1)] = {"self": 1.0}
    loss: LossKind = "l1"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: CompileKind = "auto"
    workers: Literal["auto"] | Annotated[int, Field(ge=0, le=256)] = "auto"
    save_minutes: _Length = 5.0
    keep: _Count = 3
    validation_crops: Annotated[int, Field(ge=1, le=65536)] = 16
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    half: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if sum(getattr(self, name) is not None for name in _LENGTHS) != 1:
            raise ValueError(f"give exactly one of {', '.join(_LENGTHS)}")
        odd = [stride for stride in self.pd_a if self.crop % stride]
        if odd and set(self.kinds) & set(BLINDLY):
            raise ValueError(
                f"a crop of {self.crop} is not a multiple of the stride {odd[0]} in pd_a"
            )
        if not self.kinds:
            raise ValueError("one of the objectives needs a share above 0")
        if self.rounds > 1 and "own" not in self.kinds:
            raise ValueError("rounds are for the objective 'own'")
        return self

    @property
    def kinds(self) -> list[ObjectiveKind]:
        """The objectives that are drawn."""
        return [kind for kind, share in self.objectives.items() if share > 0]

    def of_one_round(self) -> TrainingConfig:
        """Return this with the length of one round: an equal share of the whole."""
        share: dict[str, Any] = {"rounds": 1}
        for name in (*_LENGTHS, "most_steps"):
            if (length := getattr(self, name)) is not None:
                part = length / self.rounds
                share[name] = max(round(part), 1) if isinstance(length, int) else part
        return self.model_copy(update=share)


class OptimizerConfig(_Section):
    """The optimiser and its learning rate."""

    kind: Literal["adam", "muon"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    schedule: Literal["constant", "step", "cosine", "linear"] = "step"
    step_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.8,)
    factor: _Part = 0.1
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 0
    gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DataConfig(_Section):
    """The decoded photos."""

    cache_gb: Annotated[float, Field(gt=0, le=1e6)] = 8.0
    licence: str = ""


class DistillConfig(_Section):
    """The objective "distill": reproduce a teacher's results on noisy photos."""

    teacher: str = ""
    refine: RefineKind | None = None


class PartsConfig(_Section):
    """The parts of photos that "own" and "distill" denoise, to learn from the results."""

    count: Annotated[int, Field(ge=1, le=10**6)] = 200
    side: _Side = 256


class PairsConfig(_Section):
    """The objective "pairs": clean photos with synthetic noise, or real pairs."""

    real: bool = False
    noise: dict[str, _Share] = {}
    lifted: _Part = 0.0
    edited: _Part = 1.0
    halved: _Part = 0.0
    darkened: _Part = 0.0
    colored: _Part = 0.0
    drawn: _Part = 0.0
    grey: _Part = 0.0


class Config(_Section):
    """A training, except for photos and initial weights.

    `model` is None if the network of the initial weights is used.
    """

    model: ModelConfig | None = None
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    distill: DistillConfig = DistillConfig()
    parts: PartsConfig = PartsConfig()
    pairs: PairsConfig = PairsConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.pairs.real and "synthetic" in self.training.kinds:
            raise ValueError("pairs.real is for the objective 'pairs', not for 'synthetic'")
        return self

    @property
    def uses_noisy(self) -> bool:
        """Whether the objectives use noisy photos, if only to lift their noise."""
        synthetic = {"synthetic"} if self.pairs.real else {"synthetic", "pairs"}
        used = {"self", "own", "distill"} | (synthetic if self.pairs.lifted else set())
        return not used.isdisjoint(self.training.kinds)

    @property
    def only_lifts(self) -> bool:
        """Whether noisy photos are only needed to lift their noise."""
        return {"self", "own", "distill"}.isdisjoint(self.training.kinds)

    @property
    def uses_pairs(self) -> bool:
        """Whether the objectives use clean photos, or pairs."""
        return not {"pairs", "synthetic"}.isdisjoint(self.training.kinds)

    def to_toml(self) -> str:
        """Return the whole configuration as TOML, defaults included."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def config_names() -> list[str]:
    """Return the names of the configurations inside the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load_config(
    name_or_path: str,
    settings: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Read one of `config_names`, or a TOML file, and change it.

    Parameters
    ----------
    settings : sequence of str
        Changes as ``section.key=value``. A value that is not TOML is taken as a string.
    options : mapping, optional
        More changes, by ``section.key``. They are made last; None changes nothing.

    Raises
    ------
    OptionError
        It cannot be read, or a key or value makes no sense, which the message names.
    """
    keys = [setting.partition("=")[0].strip() for setting in settings]
    keys += [key for key, value in (options or {}).items() if value is not None]
    if len([key for key in keys if key.removeprefix("training.") in _LENGTHS]) > 1:
        raise OptionError(
            "Steps, epochs and minutes contradict each other.", "Say only once how long to train."
        )
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
        config = Config.model_validate(content)
        config.to_toml().encode()
        return config
    except UnicodeEncodeError:
        raise OptionError(
            "The configuration holds a text that is not UTF-8.", "Write it in UTF-8, also names."
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "there is no such key"
        elif first["type"] == "missing":
            what = "it is missing"
        told = (f"The configuration {name_or_path}", where, what.rstrip("."))
        raise OptionError(f"{': '.join(filter(None, told))}.", HINT) from None


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
        return parse_toml(path.read_bytes())
    except OSError as error:
        raise OptionError(*explain_unreadable(path, error)) from None
    except ValueError as error:
        raise OptionError(f"{path} is not TOML: {error}.", "Correct the file.") from None


def _parse(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}".encode())["value"]
    except ValueError:
        return text


def _change(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    training = content.get("training")
    if sections == ["training"] and last in _LENGTHS and isinstance(training, dict):
        # A new length replaces the old one.
        for other in _LENGTHS:
            training.pop(other, None)
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise OptionError(f"The configuration has no key {key}: {section} is a value.", HINT)
    content[last] = value
