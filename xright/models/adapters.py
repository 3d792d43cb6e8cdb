"""PEFT adapters: a fresh one to be trained, one read from its folder, and its weights merged into those of its base.

An adapter's folder names its base, and may carry it: `base/` inside it is what it then names, and is found there even
after the folder has moved.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from xright.errors import UserError
from xright.machine.told import told

SETTINGS, WEIGHTS, CARRIED = "adapter_config.json", "adapter_model.safetensors", "base"


def is_adapter(path: str | Path) -> bool:
    """Tell whether a path is the folder of an adapter."""
    return (Path(path) / SETTINGS).is_file()


def with_adapter(model: nn.Module, lora: Mapping[str, Any], revision: str | None = None) -> nn.Module:
    """A model with a fresh LoRA adapter on it, as `models.trainable` describes it; UserError names the linear modules
    that exist when a target does not."""
    targets = lora["target_modules"] or None  # a list, or what peft knows by a word: all-linear
    targets = targets if isinstance(targets, str | None) else list(targets)
    linear = sorted({name.split(".")[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)})
    named = [f".{name}" for name, _ in model.named_modules()]
    wanted = targets if isinstance(targets, list) else []
    missing = [target for target in wanted if not any(name.endswith(f".{target}") for name in named)]
    if missing:
        raise UserError(f"model.lora.target_modules names {missing}, but the model's linear modules are {linear}.")
    with told("model.lora does not fit the model", f"its linear modules are {linear}"):
        config = LoraConfig(
            r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=targets,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        policy = get_peft_model(model, config, revision=revision)
        if policy.device.type != "meta":  # some modules call themselves linear and are not
            with torch.no_grad():
                policy(input_ids=torch.ones(1, 2, dtype=torch.long, device=policy.device), use_cache=False)
        return policy


def continued(model: nn.Module, dropout: float) -> nn.Module:
    """A loaded adapter made trainable again, with this dropout: the same matrices of the same rank go on.

    UserError if the model has none, or one that changes more than LoRA's matrices do.
    """
    if not isinstance(model, PeftModel):
        raise UserError("model.lora.continue=true goes on with an adapter, and model.path names none; leave it out.")
    if beside := [key for key in get_peft_model_state_dict(model) if "lora_" not in key]:
        raise UserError(
            f"model.lora.continue=true goes on with LoRA's matrices, but this adapter also holds {beside[0]}; leave it "
            "out: the adapter is then merged into its base, and a fresh one trained."
        )
    settings: Any
    for settings in model.peft_config.values():
        settings.lora_dropout, settings.inference_mode = dropout, False
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.update({name: nn.Dropout(dropout) for name in module.lora_dropout})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model


def rank_of(folder: str | Path) -> int:
    """The rank of the adapter in a folder; UserError where there is none that has a rank."""
    if not is_adapter(folder):
        raise UserError(
            f"model.lora.continue=true goes on with an adapter, and model.path={str(folder)!r} is the folder of none; "
            "name one, or leave it out."
        )
    with told(f"the adapter in {str(folder)!r} cannot be continued", "leave model.lora.continue out"):
        return int(json.loads((Path(folder) / SETTINGS).read_text())["r"])


def load_adapter(folder: Path, base: Any) -> PeftModel:
    """The adapter in a folder, on its base, whose embeddings grow with the adapter's.

    UserError if it is no adapter of that base, whole and in safetensors, or one whose virtual tokens stand beside the
    weights: log-probs are computed from weights and rows alone.
    """
    with told(f"no adapter could be loaded from {str(folder)!r}", f"it must hold a whole {WEIGHTS}"):
        kind = json.loads((folder / SETTINGS).read_text()).get("peft_type", "LORA")
        if "PROMPT" in kind or kind in ("P_TUNING", "PREFIX_TUNING", "CARTRIDGE"):
            raise UserError(
                f"{str(folder)!r} holds a {kind} adapter, whose virtual tokens no weights can hold; give an adapter "
                "that changes weights, such as LoRA."
            )
        with safe_open(folder / WEIGHTS, "pt") as file:
            held = set(file.keys())
            embedding = base.get_input_embeddings()
            name = next(name for name, module in base.named_modules() if module is embedding)
            key = f"base_model.model.{name}.weight"
            rows = file.get_slice(key).get_shape()[0] if key in held else 0
        if rows > embedding.num_embeddings:  # trained with a vocabulary that had grown
            base.resize_token_embeddings(rows, mean_resizing=False)
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=False)
    if absent := sorted(get_peft_model_state_dict(model).keys() - held):
        raise UserError(f"{str(folder)!r} holds no whole adapter: {absent[:3]} are missing in its weights.")
    return model


def merged(model: nn.Module, folder: str | Path) -> PreTrainedModel:
    """A model with its adapter merged into plain weights. folder: where it comes from, for a UserError if it cannot be.

    Where the adapter sits on one of two tied matrices, they are parted before: merging adds to a matrix in place, and
    would change the other as well.
    """
    if not isinstance(model, PeftModel):
        return model  # type: ignore[return-value]
    with told(f"the adapter in {str(folder)!r} cannot be merged into its base", "merge it with the tool that made it"):
        inner = model.get_base_model()
        wrapped = (".base_layer.", ".original_module.", ".token_adapter.", ".modules_to_save.")
        tied = [name for names in shared(inner).values() for name in names]
        if any(mark in name for name in tied for mark in wrapped):
            untie(inner)
        plain = model.merge_and_unload()
        if not is_tied(plain):
            _say_untied(plain)
        return plain


def shared(model: nn.Module) -> dict[int, list[str]]:
    """The names of parameters that lie in the same place, by that place."""
    places: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.numel():
            places.setdefault(parameter.data_ptr(), []).append(name)
    return {place: names for place, names in places.items() if len(names) > 1}


def is_tied(model: Any) -> bool:
    """Tell whether the output head is the embedding."""
    output = model.get_output_embeddings()
    return output is not None and output.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def untie(model: nn.Module) -> None:
    """Give each parameter a place of its own, and say so in the model's config."""
    for first, *others in shared(model).values():
        for name in others:
            owner, _, attribute = name.rpartition(".")
            parameter = model.get_parameter(first)
            copy = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
            setattr(model.get_submodule(owner), attribute, copy)
    _say_untied(model)


def _say_untied(model: Any) -> None:
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    model.all_tied_weights_keys = {}


def side_by_side(model: Any, others: Sequence[Any]) -> Iterator[tuple[nn.Parameter, list[nn.Parameter]]]:
    """Yield each parameter of a model with those of its name in the others. Tied embeddings stay tied where they are in
    all of the models; else the model is untied first."""
    if is_tied(model) and not all(map(is_tied, others)):
        untie(model)
    theirs = [dict(other.named_parameters(remove_duplicate=False)) for other in others]
    for name, parameter in model.named_parameters():
        yield parameter, [named[name] for named in theirs]


def base_of(adapter: Path) -> tuple[str, str | None]:
    """The base model that an adapter's folder names, and its revision on the hub."""
    file = adapter / SETTINGS
    with told(f"{str(file)!r} names no base model that can be found", "mend its base_model_name_or_path"):
        settings = json.loads(file.read_text())
        base, revision = settings["base_model_name_or_path"], settings.get("revision")
        if (adapter / CARRIED).is_dir():
            return str(adapter / CARRIED), None
        if not Path(base).is_dir():
            PreTrainedConfig.get_config_dict(base, revision=revision)  # on the hub
        return base, revision


def carry(base: str | Path, adapter: Path, final: Path) -> None:
    """Put a base model into an adapter's folder, and name it there as what it will be once the folder is at `final`.

    Weights are linked where the file system can, so that they take no place twice; other files are copied.
    """
    shutil.copytree(base, adapter / CARRIED, copy_function=_link_weights)
    file = adapter / SETTINGS
    settings = json.loads(file.read_text())
    settings |= {"base_model_name_or_path": str(final.absolute() / CARRIED), "revision": None}
    file.write_text(json.dumps(settings, indent=2, sort_keys=True))


def _link_weights(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one that knows no links
            pass
    shutil.copy2(source, target)
