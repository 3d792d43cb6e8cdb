"""Who takes part, by name."""

from collections.abc import Sequence
from typing import Any

from bare import Bare
from pilot import Contestant
from race import Ours
from rows import Round
from setting import Setting
from steps import Technique
from trl_steps import Trl, trl_trainer

from xright.forward.packing import choose_layout
from xright.strategies import ALRIGHT, MAXRIGHT, Mix, Only
from xright.theory.problems import trade_off

TECHNIQUES: dict[str, tuple[str, bool, str]] = {  # name: layout, live reference, logits of
    "naive": ("padded", True, "all"),
    "cached reference": ("padded", False, "all"),
    "completion logits": ("padded", True, "completion"),
    "both": ("padded", False, "completion"),
    "no padding": ("alone", False, "completion"),
    "shared prompt": ("shared", False, "completion"),
    "trie": ("trie", False, "completion"),
}
AHEAD = {name: {"dpo": 0.0, "sft": 0.0} | {name: -1e9} for name in ("dpo", "sft")}  # optima that leave one far behind

OURS: dict[str, Ours] = {
    "dpo/ours": Ours(Only("dpo")),
    "sft/ours": Ours(Only("sft")),
    "Mix": Ours(Mix(trade_off(0.5))),
    "ALRIGHT": Ours(ALRIGHT(trade_off(0.5), seed=0)),
}
for name, optima in AHEAD.items():
    OURS |= {
        f"MAXRIGHT look, {name} wins": Ours(MAXRIGHT(trade_off(0.5), optima, k=1)),
        f"MAXRIGHT look without gradient, {name} wins": Ours(MAXRIGHT(trade_off(0.5), optima, k=1), "no_grad"),
        f"MAXRIGHT between looks, {name} wins": Ours(MAXRIGHT(trade_off(0.5), optima, k=10**6)),
    }


def others(names: Sequence[str], setting: Setting, rounds: Sequence[Round], folder: str) -> dict[str, Contestant]:
    """The contestants of these names ("dpo/naive"), naive first. Padded ones share a policy, and so do packed ones and
    TRL's two: nothing is carried from one step to the next."""
    shared: dict[str, Any] = {}

    def once(key: str, make: Any) -> Any:
        if key not in shared:
            shared[key] = make()
        return shared[key]

    def packed() -> Any:
        policy = setting.policy()
        choose_layout(policy, "packed")
        return policy

    def enter(name: str) -> Contestant:
        objective, technique = name.split("/")
        if technique.startswith("TRL"):
            trainer = once(name[:7], lambda: trl_trainer(objective, setting, rounds, folder))
            return Trl(trainer, compact=technique == "TRL compact")
        if technique == "bare":
            return once("bare", lambda: Bare(setting.policy()))
        layout, live, head = TECHNIQUES[technique]
        policy = once("padded", setting.policy) if layout == "padded" else once("packed", packed)
        reference = once("reference", setting.base) if live and objective == "dpo" and not setting.lora else None
        return Technique(policy, layout, live, head, reference)

    ordered = sorted(names, key=lambda name: not name.endswith("/naive"))
    return {name: enter(name) for name in ordered}
