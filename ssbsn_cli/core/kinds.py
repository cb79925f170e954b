"""The words that options and descriptors are spelled with; imports nothing heavy."""

from typing import Literal

AttentionKind = Literal["linear", "exact"]
DetailKind = Literal["auto", "off"]
BlockKind = Literal["light", "plain", "ss"]
CompileKind = Literal["auto", "on", "off"]
PrecisionKind = Literal["auto", "fp32", "bf16", "fp16"]
RefineKind = Literal["r3", "stratified", "once", "none"]
FormatKind = Literal["jpeg", "png", "webp", "bmp", "tiff", "pnm"]
