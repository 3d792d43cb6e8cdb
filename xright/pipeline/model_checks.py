"""conf/model, checked before anything is loaded."""

from omegaconf import DictConfig

from xright.errors import UserError, check_number, check_whole
from xright.machine.paths import place
from xright.models.adapters import rank_of
from xright.models.quantization import check_quantize


def check_model(model: DictConfig) -> None:
    """UserError for settings of conf/model that cannot be."""
    if not model.init and not model.path:
        raise UserError("the model has neither init nor path; give model.path=FOLDER or a hub name.")
    if model.revision and (model.init or place(model.path).is_dir()):
        what = "a model built on the spot" if model.init else f"the folder {model.path!r}"
        raise UserError(f"model.revision={model.revision!r} is of a hub model, and {what} has none; leave it out.")
    check_whole("model.lora.r", model.lora.r, 0)
    _check_continued(model)
    adapted = model.lora.r or model.lora["continue"]
    if model.quantize is not None:
        check_quantize(model.quantize)
        if not adapted:
            raise UserError(
                f"model.quantize={model.quantize} keeps weights in 4 bits, which cannot be trained; leave it out, or "
                "give model.lora.r=16 for an adapter on them."
            )
    if model.dtype == "bfloat16" and not adapted:
        raise UserError(  # a step of lr 5e-5 is below half of bfloat16's
            "model.dtype='bfloat16' with model.lora.r=0 (all parameters trained) would lose most updates to rounding; "
            "give model.dtype=float32 trainer.precision=bf16-mixed."
        )
    check_number("model.lora.alpha", model.lora.alpha, lambda x: x > 0, "a number > 0")
    check_number("model.lora.dropout", model.lora.dropout, lambda x: 0 <= x < 1, "in [0, 1)")


def _check_continued(model: DictConfig) -> None:
    """UserError for an adapter that cannot go on: none is named, or settings would have it be another."""
    going_on = model.lora["continue"]
    if not isinstance(going_on, bool):
        raise UserError(f"model.lora.continue={going_on!r} must be true or false.")
    if not going_on:
        return
    if model.init:
        raise UserError("model.lora.continue=true goes on with an adapter, and this model is built on the spot.")
    rank = rank_of(place(model.path))
    if model.lora.r not in (0, rank):
        raise UserError(
            f"model.lora.r={model.lora.r}, but the adapter in {model.path!r} goes on with its rank {rank}; leave "
            "model.lora.r out, or model.lora.continue, for a fresh adapter on the merged one."
        )
