"""A model for EleutherAI's lm-evaluation-harness.

    lm_eval --model dynexit --model_args pretrained=FOLDER --tasks gsm8k

Releases of the harness that read entry points find it by that name. For older ones (up to 0.4.13),
`python -m dynexit.integrations.lm_eval` is the same command line with this model in its registry.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import model_registry
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from tqdm import tqdm

from dynexit.decoding.facts import Facts
from dynexit.decoding.prefilling import PREFILL_ROWS
from dynexit.decoding.sampling_parameters import Sampling
from dynexit.errors import DynexitError
from dynexit.integrations.lm_eval_arguments import Arguments, checked_length, dtype_named
from dynexit.language_model import load
from dynexit.methods import DEFAULT_METHOD, make_controller
from dynexit.model.interface import Span
from dynexit.model.tokenizer import CheckpointTokenizer

NAME = "dynexit"
SAMPLED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
EMPTY = "a continuation is empty: the harness must give text to be scored."
Scored = tuple[float, bool]


class DynexitLM(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """Generates with any method of dynexit; scores texts by what that method's target says.

    Args:
        pretrained: folder or hub id; None is the bundled model.
        method: any method.
        arguments: fields of `Arguments`, settings of the method, and those arguments of the
            harness's own models that ask for nothing else (`lm_eval_arguments.py`).
    """

    def __init__(
        self, pretrained: str | None = None, method: str = DEFAULT_METHOD, **arguments: Any
    ) -> None:
        super().__init__()
        given, settings = Arguments.of(arguments)
        target = make_controller(method, **settings)  # refuses what does not exist before loading
        device = given.device
        if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
            device = None  # the harness asks for CUDA unless it is told otherwise
        dtype = dtype_named(given.dtype, pretrained)
        self._lm = load(pretrained, dtype=dtype, device=device, check=False)
        target.start(Facts(self._lm.num_layers, None, None, None, None, None, None))
        self._depth = target.target_layer()  # all layers, unless the method is lossy
        self._max_length = checked_length(given.max_length, self._lm.model.config.max_positions)
        self._given = given
        self._second = load(given.draft_model, dtype, device, False) if given.draft_model else None
        self._method, self._settings = method, settings
        self._max_gen_toks = int(given.max_gen_toks)
        self.tokenizer = self._own_tokenizer.loaded

    @property
    def _own_tokenizer(self) -> CheckpointTokenizer:
        if self._lm.tokenizer is None:
            raise DynexitError(f"{self._lm.name} has no tokenizer, but the harness needs one.")
        return self._lm.tokenizer

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text, and what an empty context is conditioned on."""
        found: int | None = self._own_tokenizer.eos
        return min(self._lm.eos) if found is None else found

    @property
    def prefix_token_id(self) -> int:
        """As given, else BOS where there is one."""
        if self._given.prefix_token_id is not None:
            return self._given.prefix_token_id
        begin: int | None = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else begin

    @property
    def max_length(self) -> int:
        """Tokens of a text: the model's context, or fewer where that was asked."""
        return self._max_length

    @property
    def tokenizer_name(self) -> str:
        """What the harness keys its request cache by."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """Ids of a text; BOS is not doubled where a chat template has written it."""
        del kwargs
        if add_special_tokens is None:
            begin = self.tokenizer.bos_token
            wanted = self._given.add_bos_token is not False
            add_special_tokens = wanted and not (begin and string.startswith(begin))
        encoded = self.tokenizer(string, add_special_tokens=add_special_tokens, verbose=False)
        ids: list[int] = encoded["input_ids"]
        begin_id = self.tokenizer.bos_token_id
        missing = self._given.add_bos_token and add_special_tokens and ids[:1] != [begin_id]
        return [begin_id, *ids] if missing and begin_id is not None else ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as text."""
        return self._own_tokenizer.render_chat(chat_history, add_generation_prompt)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts after each request's context, up to its first stop string."""
        texts = []
        for context, wanted in _progress(requests, "generating", disable_tqdm):
            texts.append(self._generate(context, wanted))
            self.cache_hook.add_partial("generate_until", (context, wanted), texts[-1])
        return texts

    def _generate(self, context: str, wanted: dict[str, Any]) -> str:
        options = normalize_gen_kwargs(wanted, self._max_gen_toks)
        room = self.max_length - options["max_gen_toks"]
        if room < 1:
            raise DynexitError(
                f"max_gen_toks {options['max_gen_toks']} leaves no room for a prompt in a context "
                f"of {self.max_length}: ask for fewer."
            )
        chosen = {name: options[name] for name in SAMPLED if options.get(name) is not None}
        output = self._lm.generate(
            self.tok_encode(context)[-room:],
            self._method,
            max_new_tokens=options["max_gen_toks"],
            stop=[text for text in options.get("until", []) if text],
            sampling=Sampling(**chosen),
            draft_model=self._second,
            **self._settings,
        )
        return output.text

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[Scored]:
        """Log-probability of each continuation after its context.

        Raises:
            DynexitError: an empty continuation.
        """
        if any(not request.args[1] for request in requests):
            raise DynexitError(EMPTY)
        scores: list[Scored] = super().loglikelihood(requests, disable_tqdm)
        return scores

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[Scored]:
        """Log-probability of each continuation, and whether greedy decoding would write it."""
        del kwargs
        scores = []
        for texts, context, continuation in tqdm(requests, "scoring", disable=disable_tqdm):
            scores.append(self._score(context, continuation))
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, scores[-1])
        return scores

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability of whole texts, in windows of the context's length."""
        totals = []
        for (text,) in _progress(requests, "scoring", disable_tqdm):
            windows = get_rolling_token_windows(
                self.tok_encode(text, add_special_tokens=False),
                self.prefix_token_id,
                self.max_length,
                context_len=1,
            )
            totals.append(sum(self._score(*make_disjoint_window(w))[0] for w in windows))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), totals[-1])
        return totals

    @torch.inference_mode()
    def _score(self, context: list[int], continuation: list[int]) -> Scored:
        """See `_loglikelihood_tokens`. Only a slice's logits are ever held.

        Raises:
            DynexitError: nothing to score.
        """
        tokens = [*context, *continuation][-(self.max_length + 1) :]
        first = len(tokens) - 1 - min(len(continuation), len(tokens) - 1)
        if first == len(tokens) - 1:
            raise DynexitError(EMPTY)
        total, greedy = 0.0, True
        for start, hidden in self._hidden(tokens[:-1]):
            rows = hidden[max(first - start, 0) :]
            if len(rows):
                stop = start + len(hidden) + 1
                said, best = self._compared(rows, tokens[stop - len(rows) : stop])
                total, greedy = total + said, greedy and best
        return total, greedy

    def _hidden(self, tokens: list[int]) -> Iterator[tuple[int, Tensor]]:
        """States that leave the target's last layer, in slices, each with its first position."""
        model = self._lm.model
        cache = model.new_cache()
        for start in range(0, len(tokens), PREFILL_ROWS):
            ids = tokens[start : start + PREFILL_ROWS]
            rows = model.rows([Span(cache, start, len(ids))])
            yield start, model.run_layers(model.embed(ids), rows, 0, self._depth)

    def _compared(self, hidden: Tensor, wanted: list[int]) -> Scored:
        """What the target says of the tokens that follow its states, in fp32 at least."""
        logits = self._lm.model.unembed(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        ids = torch.tensor(wanted, device=logits.device)
        said = logits.gather(-1, ids[:, None])[:, 0] - logits.logsumexp(-1)
        return float(said.double().sum()), bool((logits.argmax(-1) == ids).all())


def register() -> None:
    """Put the model into the harness's registry, where an entry point has not done it."""
    if NAME not in model_registry:
        model_registry.register(NAME, target=DynexitLM)


def _progress(requests: Sequence[Instance], what: str, off: bool) -> Any:
    return tqdm([request.args for request in requests], what, disable=off)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    register()
    cli_evaluate()
