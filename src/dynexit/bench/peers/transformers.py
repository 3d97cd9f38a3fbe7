"""transformers' own `generate`: plain, self-speculative with a fixed exit, and prompt lookup."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from dynexit.bench.peers import Kind, PeerOutput, folder_of
from dynexit.errors import DynexitError
from dynexit.model.quantised import stored_weights

if TYPE_CHECKING:
    from dynexit.language_model import LanguageModel

LOOKUP_TOKENS = 10


class Transformers:
    """The same checkpoint in the same dtype, loaded by `AutoModelForCausalLM`."""

    def __init__(self, lm: "LanguageModel") -> None:
        import transformers

        transformers.logging.set_verbosity_error()  # its notes would stand among ours
        transformers.logging.disable_progress_bar()
        device = lm.model.device
        loader = transformers.AutoModelForCausalLM
        if stored_weights(folder := folder_of(lm)):
            raise DynexitError("the peer transformers takes no quantised weights: leave it out.")
        self._model = loader.from_pretrained(folder, dtype=lm.model.dtype).to(device).eval()
        self._eos = lm.eos
        self._options: Mapping[str, dict[str, Any]] = {
            "": {},
            "early-exit": {"assistant_early_exit": max(1, lm.num_layers // 4)},
            "lookup": {"prompt_lookup_num_tokens": LOOKUP_TOKENS},
        }
        self.features: Mapping[str, Any] = {
            "transformers": transformers.__version__,
            **self._options["early-exit"],
        }

    def generate(self, variant: str, prompt: Sequence[int], new_tokens: int) -> PeerOutput:
        """See `Peer`."""
        ids, watch = torch.tensor([list(prompt)], device=self._model.device), _Watch()
        out = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=sorted(self._eos) or None,
            pad_token_id=min(self._eos, default=0),
            streamer=watch,
            **self._options[variant],
        )
        end = perf_counter()
        tokens = out[0, len(prompt) :].tolist()
        return PeerOutput(
            [token for token in tokens if token not in self._eos],
            watch.times[1] - watch.times[0],
            end - watch.times[1],
            len(tokens) - watch.counts[1],
        )


class _Watch:
    """A streamer that notes when tokens came, and how many: first the prompt's."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.counts: list[int] = []

    def put(self, tokens: torch.Tensor) -> None:
        self.times.append(perf_counter())
        self.counts.append(tokens.numel())

    def end(self) -> None:
        """Nothing."""


PEER = Kind("transformers", ("", "early-exit", "lookup"), Transformers)
