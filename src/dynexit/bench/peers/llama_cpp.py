"""llama.cpp, by llama-cpp-python: on the same GGUF file, or one of our weights in bf16 or Q8_0."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dynexit.bench.peers import Kind, PeerOutput, folder_of
from dynexit.errors import DynexitError
from dynexit.model.gguf import writing
from dynexit.model.gguf.files import is_gguf

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

FORMATS = {"": "bf16", "q8_0": "q8_0"}


class LlamaCpp:
    """Loads a format when it is first asked for; its files go when this does."""

    def __init__(self, lm: "LanguageModel") -> None:
        try:
            import llama_cpp
        except ImportError as error:
            raise DynexitError(
                f"the peer llama.cpp needs {error.name}: pip install 'dynexit[llama-cpp]'."
            ) from error
        self._api, self._lm = llama_cpp, lm
        self._files = tempfile.TemporaryDirectory(prefix="dynexit-gguf-")
        self._loaded: dict[str, Any] = {}
        built_with = llama_cpp.llama_print_system_info().decode().strip()
        self.features: Mapping[str, Any] = {
            "llama-cpp-python": llama_cpp.__version__,
            "built with": built_with,
        }

    def generate(self, variant: str, prompt: Sequence[int], new_tokens: int) -> PeerOutput:
        """See `Peer`."""
        llama = self._load(variant)
        llama.reset()
        began = perf_counter()
        llama.eval(list(prompt))
        tokens = [self._best(llama)]
        first = perf_counter()
        while len(tokens) < new_tokens and tokens[-1] not in self._lm.eos:
            llama.eval(tokens[-1:])
            tokens.append(self._best(llama))
        end = perf_counter()
        kept = [token for token in tokens if token not in self._lm.eos]
        return PeerOutput(kept, first - began, end - first, len(tokens) - 1)

    def _best(self, llama: Any) -> int:
        logits = self._api.llama_get_logits_ith(llama.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self._lm.model.vocabulary_size,)).argmax())

    def _load(self, variant: str) -> Any:
        if variant not in self._loaded:
            file = self._file(variant)
            threads = torch.get_num_threads()
            self._loaded[variant] = self._api.Llama(
                str(file),
                n_ctx=min(self._lm.model.config.max_positions, 8192),
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        return self._loaded[variant]

    def _file(self, variant: str) -> Path:
        checkpoint = folder_of(self._lm)
        if is_gguf(checkpoint) and not variant:
            return checkpoint
        file = Path(self._files.name) / f"{FORMATS[variant]}.gguf"
        source = writing.checkpoint(checkpoint, with_tokenizer=False)  # prompts are token ids
        writing.write(source, file, writing.Types.of(FORMATS[variant]))
        return file


PEER = Kind("llama.cpp", tuple(FORMATS), LlamaCpp)
