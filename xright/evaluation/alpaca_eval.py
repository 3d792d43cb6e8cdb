"""AlpacaEval (Dubois et al. 2024, arXiv 2404.04475): answers written as its own command line takes them.

Its judge is a model behind an API, so judging is left to it: `alpaca_eval --model_outputs FILE`. What it takes is one
JSON list of {dataset, instruction, output, generator}, in any order of rows; a run is told by its generator. Of its
805 prompts the 129 of `helpful_base` come from hh-rlhf's test prompts, which preference data may hold: leave them out
with `without: {dataset: [helpful_base]}` on the prompts; the command then compares on the others.

With a reward model and a baseline's outputs, in the same format, the win rate over it is told too.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from xright.errors import UserError
from xright.evaluation.answers import Prompt, answers
from xright.evaluation.questions import Questions, keep
from xright.evaluation.subject import Subject
from xright.evaluation.task import Result, Task
from xright.evaluation.winrate import RewardModel
from xright.machine import files


class AlpacaEval(Task):
    """prompts: rows with prompt (`instruction`) and dataset. generator: the name in AlpacaEval's table; null: the
    subject's. baseline and reward_model: outputs to be compared with, and by what; both or none.

    Metrics: none, or `RewardModel.compare`'s. Details name the file and the command that judges it.
    """

    def __init__(
        self,
        prompts: Questions,
        generator: str | None = None,
        max_new_tokens: int = 512,
        baseline: str | None = None,
        reward_model: RewardModel | None = None,
    ) -> None:
        if (baseline is None) != (reward_model is None):
            given, missing = ("baseline", "reward_model") if reward_model is None else ("reward_model", "baseline")
            raise UserError(f"alpaca_eval has a {given} but no {missing}; a win rate needs both, give both or none.")
        self.prompts, self.generator, self.max_new_tokens = prompts, generator, max_new_tokens
        columns = {"prompt": "instruction", "reference": "output"}
        self.baseline = None if baseline is None else Questions(baseline, prompts.data_dir, columns)
        self.reward_model = reward_model

    def files(self) -> Mapping[str, str | Path]:
        """Return the file of prompts, and the baseline's."""
        files = self.prompts.files()
        if self.baseline and (found := self.baseline.files()):
            files["baseline"] = found["prompts"]
        return files

    def check(self, subject: Subject) -> None:
        """UserError for prompts that cannot be used, and a baseline that lacks one of them."""
        self._references(self._prompts())

    def run(self, subject: Subject) -> Result:
        """Answers, AlpacaEval's file, and the comparison if one is asked for."""
        prompts, folder = self._prompts(), subject.folder / "evaluation"
        references = self._references(prompts)
        given = answers(subject, prompts, folder / f"{self.name}_answers.jsonl", self.max_new_tokens)
        texts = [answer.answer for answer in given]
        file = folder / f"{self.name}_outputs.json"
        write_outputs(file, prompts, texts, self.generator or subject.name)
        result = Result({})
        if self.reward_model:
            subject.release()
            asked = [prompt.text for prompt in prompts]
            result, columns = self.reward_model.compare(asked, texts, references, subject.tokenizer)
            keep(folder / f"{self.name}_rewards.jsonl", prompts, given, reference=references, **columns)
            result.details["baseline"] = self.baseline.path if self.baseline else None
        result.details |= {
            "file": str(file),
            "command": f"alpaca_eval --model_outputs {shlex.quote(str(file))}",
            "prompts": self.prompts.path,
            "datasets": dict(Counter(prompt.about["dataset"] for prompt in prompts)),
            "mean_characters_written": sum(map(len, texts)) / len(texts),
            "empty_answers": sum(not text.strip() for text in texts),
        }
        return result

    def _prompts(self) -> list[Prompt]:
        return self.prompts.prompts(needs=["dataset"], takes=())

    def _references(self, prompts: Sequence[Prompt]) -> list[str]:
        """The baseline's answers to the prompts; none without a baseline."""
        if self.baseline is None:
            return []
        rows = self.baseline.prompts(needs=["reference"], takes=())
        known = {row.text: row.about["reference"] for row in rows}
        if missing := [prompt.text for prompt in prompts if prompt.text not in known]:
            raise UserError(
                f"the baseline {self.baseline.path!r} has no output for {len(missing)} of {len(prompts)} prompts, such "
                f"as {missing[0][:60]!r}; give outputs for the same prompts."
            )
        return [known[prompt.text] for prompt in prompts]


def write_outputs(file: Path, prompts: Sequence[Prompt], outputs: Sequence[str], generator: str) -> None:
    """Write the outputs as AlpacaEval's model_outputs.json, atomically."""
    rows = [
        {"dataset": prompt.about["dataset"], "instruction": prompt.text, "output": output, "generator": generator}
        for prompt, output in zip(prompts, outputs, strict=True)
    ]
    files.write_json(file, rows)
