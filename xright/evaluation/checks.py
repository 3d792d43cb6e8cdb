"""Small looks at what a model does, for use while it trains (`callbacks/behaviour_check.py`)."""

from collections.abc import Sequence
from typing import Any, Protocol

from xright.data.templates import Template
from xright.errors import UserError
from xright.evaluation.behaviour import behaviour, judge
from xright.evaluation.judges import Judge
from xright.evaluation.questions import Questions
from xright.evaluation.refusal import labelled, tally


class Check(Protocol):
    """A fixed list of bare prompts, the template they are written out with, and what is said of their completions."""

    template: Template
    prompts: list[str]
    metrics: list[str]

    def judge(self, completions: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """A verdict on each completion, and a share in [0, 1] for each of `metrics`."""


class ProbeCheck:
    """The probes of a source that has some, such as the generated world: exact sentences, as in `behaviour.py`.

    UserError for a source without probes.
    """

    def __init__(self, source: Any, template: str) -> None:
        if not hasattr(source, "probes"):
            raise UserError(f"{source} has no probes to check; give a RefusalCheck with prompts of your own instead.")
        self.template, self.probes = Template(template), source.probes()
        self.prompts = [probe.prompt for probe in self.probes]
        self.metrics = list(behaviour(self.probes, [""] * len(self.probes)))

    def judge(self, completions: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """Return the verdicts and fractions of `behaviour.py`."""
        verdicts = [judge(probe, text) for probe, text in zip(self.probes, completions, strict=True)]
        return verdicts, behaviour(self.probes, list(completions))


class RefusalCheck:
    """Prompts of one's own, safe and unsafe, and a judge; metrics as in `refusal.py`."""

    def __init__(self, prompts: Questions, judge: Judge, template: str) -> None:
        self.template, self._judge, self._prompts = Template(template), judge, labelled(prompts)
        self.prompts = [prompt.text for prompt in self._prompts]
        self.metrics = list(tally(self._prompts, ["full_compliance"] * len(self.prompts)))

    def judge(self, completions: Sequence[str]) -> tuple[list[str], dict[str, float]]:
        """Return the judge's verdicts, and their shares."""
        verdicts = self._judge.verdicts(self._prompts, list(completions))
        return verdicts, {name: metric.value for name, metric in tally(self._prompts, verdicts).items()}
