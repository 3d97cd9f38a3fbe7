"""The public entry point: a loaded model that generates text."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dynexit.agreement import ADVICE, WITHOUT_EXITS, why_none_pays
from dynexit.asking import meant
from dynexit.decoding.controllers.base import Controller, SecondModel
from dynexit.decoding.earlier import EarlierTexts
from dynexit.decoding.loop import finish
from dynexit.decoding.memory import DEFAULT, memory_of
from dynexit.decoding.prefix_files import Origin
from dynexit.decoding.prefixes import PrefixCache
from dynexit.decoding.reuse import Reuse
from dynexit.decoding.sequence import Decoding
from dynexit.errors import DynexitError
from dynexit.generation import Generation, Prompt, Stream
from dynexit.learning.finding import check_learned
from dynexit.loaded_model import LoadedModel
from dynexit.methods import DEFAULT_METHOD, UnknownSettingError, has_setting, make_controller
from dynexit.model.dtypes import parse_devices
from dynexit.model.fingerprint import checkpoint_fingerprint
from dynexit.model.forking import prepare_forks
from dynexit.model.loading import load_eos, load_shape
from dynexit.model.places import BUNDLED, find_checkpoint
from dynexit.model.runtimes import load_into
from dynexit.model.threads import use_threads
from dynexit.model.tokenizer import load_tokenizer
from dynexit.preparing import facts_of, open_decoding
from dynexit.request import REQUEST, SAMPLING, Request
from dynexit.sessions import Chat, Session

__all__ = ["Generation", "LanguageModel", "Prompt", "Stream", "load"]


class LanguageModel(LoadedModel):
    """A checkpoint that is ready to generate. Made by `load`.

    Several threads may generate at once: texts share no mutable state, and the native runtime runs
    one pass at a time. A controller that is given as an object serves one text at a time.
    """

    def prepare(self, method: str | Controller = DEFAULT_METHOD) -> None:
        """Do a method's one-time work for this model now: measure costs, copy layers, read a text.

        Raises:
            DynexitError: the method is unknown or cannot run here.
        """
        facts_of(make_controller(method), self.model, self.known)

    def generate(
        self, prompt: Prompt, method: str | Controller = DEFAULT_METHOD, **options: Any
    ) -> Generation:
        """Generate a whole text; arguments as in `sequence`."""
        decoding = self.sequence(prompt, method, **options)
        finish(decoding)
        return Generation.of(decoding)

    def session(
        self,
        method: str = DEFAULT_METHOD,
        *,
        cache_memory: int | str | None = None,
        **settings: Any,
    ) -> Session:
        """Generate several texts in sequence: the method keeps what it learned from earlier ones,
        and a prefix that an earlier text had is not computed again.

        Args:
            method: one with the setting `carry`.
            cache_memory: as for `prefix_cache`.

        Raises:
            DynexitError: the method has no `carry`, or not one of the given settings.
        """
        controller = make_controller(method, carry=True, **settings)
        return Session(self, controller, self.reuse(cache_memory))

    def chat(
        self,
        system: str | None = None,
        method: str = DEFAULT_METHOD,
        *,
        messages: Sequence[Mapping[str, Any]] = (),
        trust_messages: bool = False,
        cache_memory: int | str | None = None,
        **settings: Any,
    ) -> Chat:
        """A conversation through the checkpoint's chat template. Each turn computes only the new
        part of the prompt.

        Args:
            system: the system prompt; None is the template's own.
            method: one that has the setting `carry` keeps what it learned from turn to turn.
            messages: earlier messages, with `role` and `content`.
            trust_messages: as for `sequence`.
            cache_memory: as for `prefix_cache`.

        Raises:
            DynexitError: there is no chat template, or the method or a setting is unknown.
        """
        tokenizer = self.chat_tokenizer("use `session()` and write the prompt as text")
        carry = {"carry": True} if has_setting(method, "carry") else {}
        controller = make_controller(method, **(carry | settings))
        encode = partial(tokenizer.encode_chat, trust_messages=trust_messages)
        session = Session(self, controller, self.reuse(cache_memory))
        return Chat(session, encode, system, messages)

    def reuse(self, memory: int | str | None = None) -> Reuse:
        """New caches for texts to share: pass them as `reuse`. For `memory`, see `prefix_cache`."""
        return Reuse(self.prefix_cache(memory), EarlierTexts().of())

    def prefix_cache(self, memory: int | str | None = None) -> PrefixCache | None:
        """A cache of keys and values for texts that begin alike.

        Args:
            memory: bytes, such as 500_000_000 or "500MB"; 0 is no cache. None is 1 GB in a runtime
                whose results stay identical to the bit (native), and no cache elsewhere.

        Raises:
            DynexitError: not an amount of memory, or too little for this model.
        """
        if memory is None:
            memory = DEFAULT if self.model.rows_independent else 0
        if not (limit := memory_of(memory)):
            return None
        origin = None if self.folder is None else self._origin
        return PrefixCache(limit, self.model.new_cache().block_bytes, origin)

    def _origin(self) -> Origin:
        assert self.folder is not None
        runtime, dtype = self.model.runtime_name, str(self.model.dtype).removeprefix("torch.")
        fingerprint = checkpoint_fingerprint(self.folder)
        return Origin(fingerprint, self.name, runtime, dtype, version("dynexit"))

    def stream(
        self, prompt: Prompt, method: str | Controller = DEFAULT_METHOD, **options: Any
    ) -> Stream:
        """Generate a text chunk by chunk; arguments as in `sequence`."""
        return Stream(self.sequence(prompt, method, **options))

    def sequence(
        self, prompt: Prompt, method: str | Controller = DEFAULT_METHOD, **options: Any
    ) -> Decoding:
        """Prepare a text for a scheduler to run; nothing is decoded yet.

        Args:
            prompt: text or token ids.
            method: a method's name, `FILE.py:CLASS`, or a controller.
            options: fields of `Request` and of `Sampling`, and settings of the method (such as
                exit_layer).

        Raises:
            DynexitError: the request cannot be run as asked.
        """
        self.check_writes()
        request, settings = Request.of(options)
        controller = _controller(method, settings)
        tokens = self.prompt_tokens(prompt, request.chat, request.trust_messages)
        job = request.job(self, tokens)
        return open_decoding(self.model, controller, job, self.known)


def _controller(method: str | Controller, settings: dict[str, Any]) -> Controller:
    """The method's controller. An unknown setting may be a misspelt argument of `generate`."""
    try:
        return make_controller(method, **settings)
    except UnknownSettingError as error:
        found = meant(error.name, ["prompt", "method", *REQUEST, *SAMPLING])
        if found is None:
            raise
        raise DynexitError(
            f"there is no argument {error.name!r} (did you mean {found}?), and {error}"
        ) from error


def kind_of(model: str | Path) -> SecondModel:
    """The kind of a checkpoint that is not loaded (`LanguageModel.kind`).

    Raises:
        DynexitError: as `load`.
    """
    causal = load_shape(find_checkpoint(model)).mask_token is None
    return "causal" if causal else "diffusion"


def load(
    model: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    check: bool = True,
    runtime: str | None = None,
    learned: str | Path | bool | None = None,
) -> LanguageModel:
    """Load a checkpoint in Hugging Face format.

    Args:
        model: a local folder, a GGUF file or a hub id; None or "bundled" is the model that comes
            with dynexit.
        dtype: bf16, fp16, fp32 or fp64; None is bf16 where that is fast, else fp32.
        device: cpu, cuda or cuda:N; None is CUDA if available. Several, such as "cuda:0,cuda:1",
            share the layers of a model that is too large for one.
        check: warn once if the checkpoint's early exits are useless.
        runtime: native (C++, on a CPU in bf16 or fp32), graphs (PyTorch with CUDA graphs) or
            eager (PyTorch); None is the first of them that works.
        learned: a folder that `learn` made for this model; None looks beside the model, in the
            cache and in dynexit; False uses none.

    Raises:
        DynexitError: the checkpoint is missing, damaged or not supported (the message names it),
            or `learned` belongs to another model.
    """
    use_threads(None)
    prepare_forks()
    folder = find_checkpoint(model)
    if isinstance(learned, str):
        learned = Path(learned)
    if isinstance(learned, Path):
        check_learned(learned, folder)  # before anything large is read
    devices = parse_devices(device)
    config = load_shape(folder)
    tokenizer = load_tokenizer(folder)
    loaded = LanguageModel(
        load_into(runtime, folder, config, dtype, devices),
        tokenizer,
        load_eos(folder, tokenizer.eos if tokenizer else None),
        BUNDLED.name if model is None else str(model),
        folder,
        learned,
    )
    exits = check and loaded.kind == "causal"
    reason = why_none_pays(loaded.model, loaded.sample) if exits else None
    if reason is not None:
        advice = ADVICE if loaded.learned is None else WITHOUT_EXITS
        warnings.warn(f"{loaded.name}: {reason}. {advice}", stacklevel=2)
    return loaded
