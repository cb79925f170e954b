"""What a training does, as a TOML file: read, checked, changed by options, written whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ssbsn_cli.core.types import CompileKind, RefineKind

ObjectiveKind = Literal["self", "distill", "pairs"]
LossKind = Literal["l1", "psnr"]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Stride = Annotated[int, Field(ge=1, le=64)]
Part = Annotated[float, Field(ge=0, le=1)]
DURATIONS = ("steps", "epochs", "max_minutes")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(_Section):
    """The network, as in `ssbsn_cli.core.model.descriptor.Descriptor`.

    Attributes
    ----------
    architecture : str
        Which network.
    refine : {"r3", "stratified", "once", "none"}
        The refinement that its weights will recommend.
    halo : int
        Pixels at a tile's edge that its weights will not be trusted with.
    detail : bool
        Whether its weights will recommend to give detail back.
    parameters : dict
        Keyword arguments of the network's constructor.
    """

    architecture: str
    refine: RefineKind = "r3"
    halo: Annotated[int, Field(ge=0, le=1024)] = 8
    detail: bool = False
    parameters: dict[str, Any] = {}


class TrainingConfig(_Section):
    """What a step sees, and how many there are.

    Attributes
    ----------
    steps, epochs, max_minutes : int, float, float
        How long to train: exactly one of them. An epoch draws one crop for every 384x384 pixels
        of the data, as the authors' patches of 512 pixels with an overlap of 128 do.
    batch_size : int
        Crops a step, of all processes together.
    crop : int
        Side of the crops in pixels, a multiple of each stride in `pd_a`.
    pd_a : tuple of int
        PD strides of the self-supervised objective; each step draws one of them.
    objectives : dict
        How often a step takes which objective, relative to the others.
    loss : {"l1", "psnr"}
        See `ssbsn_cli.core.training.objectives.distance`.
    seed : int
        Of initialisation, crops, strides and synthetic noise.
    device, precision : str
        As in `ssbsn_cli.core.inference.settings.Settings`, without "fp16".
    compile : {"auto", "on", "off"}
        Whether to compile the network for the processor, as for denoising.
    save_minutes : float
        Time between checkpoints.
    keep : int
        How many of the last checkpoints stay beside the best one.
    validation_crops : int
        Crops, or pairs, that each checkpoint is scored on.
    hold_out : float
        Part of each photo that is kept for validation and never trained on.
    half : bool
        Whether weights are saved as 16-bit floats. The state that a run resumes from keeps full
        precision.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 4
    crop: Annotated[int, Field(ge=8, le=8192)] = 120
    pd_a: Annotated[tuple[Stride, ...], Field(min_length=1)] = (5,)
    objectives: Annotated[dict[ObjectiveKind, Share], Field(min_length=1)] = {"self": 1.0}
    loss: LossKind = "l1"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: CompileKind = "auto"
    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    keep: Annotated[int, Field(ge=1)] = 3
    validation_crops: Annotated[int, Field(ge=1)] = 16
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    half: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if sum(getattr(self, name) is not None for name in DURATIONS) != 1:
            raise ValueError(f"give exactly one of {', '.join(DURATIONS)}")
        odd = [stride for stride in self.pd_a if self.crop % stride]
        if odd and self.objectives.get("self"):
            raise ValueError(f"a crop of {self.crop} is no multiple of the stride {odd[0]} in pd_a")
        if not sum(self.objectives.values()) > 0:
            raise ValueError("one of the objectives needs a share above 0")
        return self


class OptimizerConfig(_Section):
    """The optimiser and how its learning rate changes.

    Attributes
    ----------
    kind : {"adam", "muon"}
        See `ssbsn_cli.core.training.muon.Muon`.
    learning_rate : float
        Its highest value.
    schedule : {"constant", "step", "cosine", "linear"}
        How it falls: not at all, by `factor` at each of `step_at`, or to `factor` at the end.
    step_at : tuple of float
        Parts of the whole training.
    factor : float
        See `schedule`.
    warmup_steps : int
        Steps that it rises over at the start.
    gradient_clip : float
        Largest norm of a gradient; 0 leaves them as they are.
    ema : float
        Decay of the moving average of the weights, which is what is saved then; 0 is none.
    """

    kind: Literal["adam", "muon"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    schedule: Literal["constant", "step", "cosine", "linear"] = "step"
    step_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.8,)
    factor: Annotated[float, Field(ge=0, le=1)] = 0.1
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DataConfig(_Section):
    """The decoded photos.

    Attributes
    ----------
    cache_gb : float
        The most that the crop cache of one ``--data`` may take, in units of 1e9 bytes.
    licence : str
        What the photos' terms ask of the weights; goes into their card.
    """

    cache_gb: Annotated[float, Field(gt=0)] = 8.0
    licence: str = ""


class DistillConfig(_Section):
    """The objective "distill": reproduce what a teacher makes of noisy photos.

    Attributes
    ----------
    teacher : str
        Its weights: a name or a path.
    refine : {"r3", "stratified", "once", "none"}
        How the teacher denoises.
    windows, side : int
        How many parts of the photos it denoises, once, and their size in pixels.
    """

    teacher: str = ""
    refine: RefineKind = "r3"
    windows: Annotated[int, Field(ge=1)] = 200
    side: Annotated[int, Field(ge=8)] = 256


class PairsConfig(_Section):
    """The objective "pairs": clean photos with synthetic noise, or real pairs.

    Attributes
    ----------
    real : bool
        Whether ``--pairs`` holds noisy and clean photos of the same scenes, or clean ones alone.
    noise : dict
        Shares of the kinds of noise that clean ones get; see `ssbsn_cli.core.noise.wide.Wide`.
    lifted : float
        Share of noise lifted from the photos of ``--data``.
    halved, darkened, colored, drawn : float
        See `ssbsn_cli.core.noise.scenes.Scenes`.
    grey : float
        Part of the pairs that lose their colours after the noise was added.
    """

    real: bool = False
    noise: dict[str, Share] = {}
    lifted: Part = 0.0
    halved: Part = 0.0
    darkened: Part = 0.0
    colored: Part = 0.0
    drawn: Part = 0.0
    grey: Part = 0.0


class Config(_Section):
    """All of a training but the photos and the initial weights.

    Attributes
    ----------
    model : ModelConfig or None
        None takes the network of the initial weights.
    """

    model: ModelConfig | None = None
    training: TrainingConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    distill: DistillConfig = DistillConfig()
    pairs: PairsConfig = PairsConfig()

    def to_toml(self) -> str:
        """Return the whole configuration as TOML, defaults included."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
