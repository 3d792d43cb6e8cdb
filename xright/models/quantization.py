"""Weights in 4 bits, by bitsandbytes."""

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from xright.errors import UserError

KINDS = ("nf4", "fp4")


def check_quantize(kind: Any) -> None:
    """UserError for a type that there is not, or where bitsandbytes is not installed."""
    if kind not in KINDS:
        raise UserError(f"model.quantize={kind!r} must be {' or '.join(KINDS)}, or null.")
    if not find_spec("bitsandbytes"):
        raise UserError(f"model.quantize={kind} needs bitsandbytes, which is not installed; pip install bitsandbytes.")


def quantized(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of transformers' `from_pretrained` that read weights so. dtype: of computing."""
    from transformers import BitsAndBytesConfig

    check_quantize(kind)
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
    )
    return {"quantization_config": how, "device_map": {"": "cpu"}}


def keep_differentiable(model: nn.Module) -> None:
    """Keep a quantized model's layers from what bitsandbytes does on some CPUs in the first forward of eval mode: their
    weights are laid out anew, for a product that has no backward, and an adapter below gets no gradient ever after."""
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
