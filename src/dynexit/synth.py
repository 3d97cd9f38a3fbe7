"""Random checkpoints of real shapes whose early layers agree with the last to a chosen degree.

Speed can be measured at real sizes without real weights. The trick: hidden states grow layer by
layer, and each layer's output projections are scaled so that what is still to come after layer l
is small enough, relative to what is there, for layer l's argmax to be the last layer's as often as
wanted. Logits of a random head are Gaussian, so that share depends on the correlation alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.special import erfc

from dynexit.model.config import ModelConfig
from dynexit.model.files import make_folder
from dynexit.model.gguf.files import is_gguf
from dynexit.model.interface import Span
from dynexit.model.loading import load_shape
from dynexit.model.probe import read_layers
from dynexit.model.runtimes import load_into
from dynexit.model.saving import save_checkpoint
from dynexit.model.transformer import Transformer
from dynexit.shapes import plan_checkpoint
from dynexit.training.vocabulary import END_OF_TEXT, save_tokenizer

SAMPLE_TOKENS = 192
NUMBERS = 2**17, 2**24  # that are drawn and mixed at once: on a CPU, elsewhere
CPU = torch.device("cpu")
Normals = Callable[[tuple[int, ...]], Tensor]
SURENESS = 6.0  # logits are so much steeper where tokens differ in frequency


@dataclass(frozen=True)
class Synthetic:
    """What was made: agreement of every exit layer 1..L with the last, as measured."""

    config: ModelConfig
    wanted: list[float]
    achieved: list[float]


def synthesise(
    out: Path,
    like: str,
    anchors: Mapping[int, float],
    dtype: torch.dtype,
    seed: int = 0,
    zipf: float = 0.0,
    kind: str = "q8_0",
) -> Synthetic:
    """Write a random checkpoint of the shape `like` to `out`, a folder or a GGUF file.

    Args:
        dtype: of a folder's weights.
        anchors: agreement wanted at some exit layers; layers between them are interpolated.
        zipf: the n-th token is the likeliest about n^-zipf times as often as the first, so that the
            head's first tokens are most of the text, as in a real vocabulary; 0 makes all alike.
        kind: of a GGUF file's matrices, one of `names.SYNTHETIC`.

    Raises:
        DynexitError: as `plan_checkpoint`, or what cannot be written. Then nothing is left there.
    """
    config, wanted = plan_checkpoint(out, like, anchors, zipf)
    make_folder(out.parent)
    model = agreeing_model(config, wanted, dtype, seed, zipf)
    sample = torch.randint(config.vocab_size, (SAMPLE_TOKENS,))
    if is_gguf(out):
        _save_gguf(model, out, kind, seed)
        del model  # of which the file's blocks are read instead
        written = load_into(None, out, load_shape(out), None, [torch.device("cpu")])
        return Synthetic(config, wanted, read_layers(written, sample).agreement)
    achieved = read_layers(model, sample).agreement
    _save(model, out, dtype)
    return Synthetic(config, wanted, achieved)


def agreeing_model(
    config: ModelConfig,
    wanted: list[float],
    dtype: torch.dtype,
    seed: int = 0,
    zipf: float = 0.0,
    device: torch.device = CPU,
) -> Transformer:
    """A random model whose layers 0..L agree with the last as `wanted` (see `agreement_curve`).

    Args:
        zipf: see `synthesise`.
        device: where weights are drawn, and stay; each kind of device draws others.
    """
    torch.manual_seed(seed)
    model = random_model(config, dtype, device)
    scales = token_scales(config.vocab_size, zipf)
    if zipf:
        model.head.weight.mul_(torch.from_numpy(SURENESS * scales).to(device)[:, None])
    _scale_layers(model, growth(wanted, scales, seed, device))
    return model


def _save(model: Transformer, out: Path, dtype: torch.dtype) -> None:
    """Write model and tokenizer: all of it, or nothing."""
    config = model.config
    try:
        save_checkpoint(model, out, dtype, eos=config.vocab_size - 1)
        save_tokenizer(byte_tokenizer(config.vocab_size), out, config.max_positions)
    except BaseException:
        rmtree(out, ignore_errors=True)
        raise


def _save_gguf(model: Transformer, out: Path, kind: str, seed: int) -> None:
    from transformers import PreTrainedTokenizerFast

    from dynexit.model.gguf import writing  # the gguf package is for such files alone
    from dynexit.random_blocks import NAME, Mix, RandomBlocks

    tokenizer = byte_tokenizer(model.config.vocab_size)
    loaded = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT)
    mixed = kind == NAME
    types: writing.Mixture = Mix(model.config.num_layers) if mixed else writing.Types.of(kind)
    writing.write(writing.in_memory(model, loaded, out.stem), out, types, RandomBlocks(seed))


def token_scales(vocab_size: int, zipf: float) -> NDArray[np.float32]:
    """Standard deviations [V] of logits that make the n-th token the likeliest about n^-zipf times
    as often as the first: beyond a level t, a Gaussian's tail falls as exp(-(t / scale)^2 / 2).
    """
    ranks, level = np.log(np.arange(1, vocab_size + 1)), 2.0
    for _ in range(8):  # t is where one of all tokens is to be expected
        scales = (1.0 + 2.0 * zipf * ranks / level**2) ** -0.5
        expected = 0.5 * erfc(torch.from_numpy(level / scales / 2**0.5)).sum()
        level = max(level + 0.5 * float(expected.log()) / level, 1.0)
    return scales.astype(np.float32)


def growth(
    wanted: list[float], scales: NDArray[np.float32], seed: int, device: torch.device = CPU
) -> list[float]:
    """Squared norm of the hidden state after layers 0..L, relative to the last one.

    If what is still to come is independent of what is there, the logits of layer l and of the last
    correlate by c = sqrt(S_l / S_L), and c decides how often their argmaxes agree.
    """
    angles = np.linspace(0.0, np.pi / 2, 61)  # c = sin(angle): fine where c is close to 1
    shares = _agreement_of(np.sin(angles), scales, _normals(seed, device), device)
    reached = [np.sin(np.interp(share, shares, angles)) for share in wanted[:-1]]
    return [*(float(c) ** 2 for c in reached), 1.0]


def _agreement_of(
    correlations: NDArray[np.float64],
    scales: NDArray[np.float32],
    normals: Normals,
    device: torch.device,
) -> NDArray[np.float64]:
    """How often two Gaussian vectors of these scales have the same argmax, by simulation."""
    trials = max(500, 4_000_000 // len(scales))  # a share is then known to about 2 %
    hits = torch.zeros(len(correlations), device=device)
    deviations = torch.from_numpy(scales).to(device)
    for at_once in _parts(trials, max(1, NUMBERS[device.type != "cpu"] // len(scales))):
        first, second = (normals((at_once, 2, len(scales))) * deviations).unbind(1)
        likeliest = first.argmax(-1)
        for index, c in enumerate(correlations.tolist()):
            mixed = c * first + (1 - c * c) ** 0.5 * second
            hits[index] += (likeliest == mixed.argmax(-1)).sum()
    return np.maximum.accumulate(hits.cpu().double().numpy() / trials)


def _normals(seed: int, device: torch.device) -> Normals:
    """Draws fp32 numbers on `device`."""
    if device.type != "cpu":
        there = torch.Generator(device).manual_seed(seed)
        return lambda shape: torch.randn(shape, device=device, generator=there)
    here = np.random.default_rng(seed)
    return lambda shape: torch.from_numpy(here.standard_normal(shape, dtype=np.float32))


def _parts(total: int, most: int) -> Iterator[int]:
    """Parts of at most `most` that add up to `total`."""
    for start in range(0, total, most):
        yield min(most, total - start)


def random_model(
    config: ModelConfig, dtype: torch.dtype, device: torch.device = CPU
) -> Transformer:
    """Random weights that keep states within bounds, by PyTorch's generator of `device`."""
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    model.to_empty(device=device)
    model.requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.ones_(parameter)
        else:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    nn.init.normal_(model.embedding.weight)
    return model


@torch.inference_mode()
def _scale_layers(model: Transformer, squared_norms: list[float]) -> None:
    """Scale every layer's output projections so that hidden states grow as `squared_norms` say."""
    tokens = torch.randint(model.config.vocab_size, (SAMPLE_TOKENS,)).to(model.device)
    model.embedding.weight.mul_(squared_norms[0] ** 0.5 or 1e-3)
    hidden, rows = model.embed(tokens), model.rows([Span(model.new_cache(), 0, len(tokens))])
    for index, squared in enumerate(squared_norms[1:]):
        layer = model.layer(index)
        added = max(squared - squared_norms[index], 0.0) ** 0.5
        change = (layer(hidden, rows) - hidden).float().square().mean().sqrt()
        for projection in (layer.out, layer.down):
            projection.weight.mul_(added / float(change))
        hidden = layer(hidden, rows)


def byte_tokenizer(size: int) -> Tokenizer:
    """One token a byte, filled up to `size` with words that text never becomes; the last is EOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fillers = [f"Ġw{number}" for number in range(size - len(alphabet) - 1)]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *fillers, END_OF_TEXT])}
    never = [("Ġw1", "0")]  # nothing makes its first part; GGUF files must have a merge
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=never))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer
