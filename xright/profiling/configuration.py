"""conf/profile.yaml, composed: what `python -m xright.profile` and the callback are given."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from xright.config.folder import CONF
from xright.errors import UserError, check_whole, reason_of


def configuration(overrides: Sequence[str], names: Sequence[str]) -> DictConfig:
    """conf/profile.yaml with these settings, for models of these names. UserError for what it does not know."""
    if not names:
        raise UserError("no model is named; give the base, then what was trained from it, in order.")
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("profile", [*overrides])
        used = {node.stream for node in cfg.objectives.values() if node}
        model = {"path": names[0], "tokenizer": names[0], "revision": None, "trust_remote_code": cfg.trust_remote_code}
        OmegaConf.set_struct(cfg, False)
        cfg.merge_with({"model": model, "eval_on": "train_probe", "probe_share": 1.0})
        cfg.data.streams = {name: node for name, node in cfg.data.streams.items() if name in used}
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise UserError(f"{missing[0]} must be given, as {missing[0]}=…; or set the objective on it to null.")
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the configuration cannot be composed: {reason_of(error, 300)}; see --help.") from error
    for key, least in (("rows", 2), ("seed", 0), ("threads", 1)):
        if cfg[key] is not None or key != "threads":
            check_whole(key, cfg[key], least)
    if not used:
        raise UserError("every objective is null; leave at least one of conf/profile.yaml.")
    return cfg
