"""The objective of a masked-diffusion model (Sahoo et al. 2024, arXiv 2406.07524; Nie et al. 2025,
arXiv 2502.09992): tokens are masked with a chance t, drawn anew for each window, and the masked
ones are predicted from the others, left and right. Their cross entropy is weighted by 1 / t.

B windows of T tokens, V vocabulary.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dynexit.errors import DynexitError
from dynexit.model.families.diffusion import dream
from dynexit.model.rows import PackedBatch
from dynexit.model.transformer import Transformer
from dynexit.training.evaluation import DomainReport, HeldOut
from dynexit.training.objective import Losses
from dynexit.training.recipe import Diffusion

LEAST = 1e-3  # the smallest t, as in LLaDA
JUDGED = 8  # positions of a block of masks that evaluation looks at


def to_diffusion(model: Transformer, layers: int) -> Transformer:
    """Make a masked-diffusion model of a causal one: its first `layers` (0: all), a token more, the
    mask, and biases of zero. It stays shifted: what a row said of the next token, it says of the
    mask after it. A model that is one already is returned.

    Raises:
        DynexitError: it has too few layers, or layers that Dream's form does not have.
    """
    old = model.config
    if old.mask_token is not None:
        if layers not in (0, old.num_layers):
            raise DynexitError("recipe: diffusion.layers cuts causal models only: leave it out.")
        return model
    if old.qk_norm or old.out_bias or old.mlp_bias or layers > old.num_layers:
        raise DynexitError(
            f"recipe: start_from cannot become a masked-diffusion model: it has {old.num_layers} "
            f"layers (diffusion.layers is {layers}), or parts that Dream's form does not have."
        )
    config = replace(
        old,
        family=dream.MODEL_TYPE,
        num_layers=layers or old.num_layers,
        vocab_size=old.vocab_size + 1,
        qkv_bias=True,
        mask_token=old.vocab_size,
        shifted=True,
    )
    made, weights = Transformer(config), model.state_dict()
    for name, parameter in made.state_dict().items():
        known = weights.get(name)
        if known is None:
            parameter.zero_()
        elif known.shape == parameter.shape:
            parameter.copy_(known)
        else:  # the mask's row begins as the mean of all
            parameter.copy_(torch.cat((known, known.mean(0, keepdim=True))))
    return made


@dataclass(frozen=True)
class Masks:
    """Which tokens of windows are hidden, [B, T], and each window's share of them, [B]."""

    hidden: Tensor
    share: Tensor


def random_masks(windows: int, length: int, settings: Diffusion) -> Masks:
    """Masks for a batch. The chances t of its windows are spread evenly over (0, 1). A share of the
    windows has a block of masks at its end instead, as drafting has. The first token always stays.
    """
    spread = (torch.rand(()) + torch.arange(windows) / windows) % 1
    share = LEAST + (1 - LEAST) * spread[torch.randperm(windows)]
    hidden = torch.rand(windows, length) < share[:, None]
    blocks = torch.rand(windows) < settings.block_share
    sizes = torch.randint(1, min(settings.block, length - 1) + 1, (windows,))
    at_end = torch.arange(length) >= length - sizes[:, None]
    hidden = torch.where(blocks[:, None], at_end, hidden)
    hidden[:, 0] = False
    return Masks(hidden, torch.where(blocks, sizes / length, share))


class MaskedDiffusion:
    """The loss of a batch; called as `Objective` is."""

    def __init__(self, model: Transformer, settings: Diffusion) -> None:
        self._model, self._settings = model, settings

    def __call__(self, tokens: Tensor, step: int, progress: float) -> Losses:
        """`tokens` [B, T + 1], of which the last T are used. `last` is the bound on nats per token
        that the loss is.
        """
        del step, progress
        tokens = tokens[:, 1:]
        masks = random_masks(len(tokens), tokens.shape[1], self._settings)
        hidden, share = masks.hidden.to(tokens.device), masks.share.to(tokens.device)
        logits = predictions(self._model, tokens, hidden)
        nats = F.cross_entropy(logits, tokens[hidden], reduction="none")
        weights = (1 / share)[:, None].expand_as(hidden)[hidden]
        loss = (nats * weights).sum() / tokens.numel()
        return Losses(loss, loss.detach())


def predictions(model: Transformer, tokens: Tensor, hidden: Tensor) -> Tensor:
    """Logits [n, V] for the n `hidden` tokens of windows [B, T], from those that are not; at least
    fp32.
    """
    config = model.config
    states = model.embed(tokens.masked_fill(hidden, config.mask_token or 0).flatten())
    rows = PackedBatch(tokens.shape[1], model.rotary, states, causal=False)
    for layer in model.layers:
        states = layer(states, rows)
    wanted = hidden.roll(-1, dims=1) if config.shifted else hidden
    logits = model.unembed(states[wanted.flatten()])
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.no_grad()
def evaluate_blocks(model: Transformer, text: HeldOut, block: int) -> DomainReport:
    """How well the first masks of a block at the end of each held-out window are predicted: bits
    per byte of text, and how often the likeliest token is the text's.
    """
    judged = min(JUDGED, block)
    nats, right, count = torch.zeros(judged), torch.zeros(judged), 0
    for window in text.windows:
        for end in range(2 * block, len(window) + 1, block):
            tokens = window[:end].to(model.device)[None]
            hidden = (torch.arange(end, device=tokens.device) >= end - block)[None]
            logits, truth = predictions(model, tokens, hidden)[:judged], tokens[hidden][:judged]
            nats += F.cross_entropy(logits, truth, reduction="none").cpu()
            right += (logits.argmax(-1) == truth).cpu()
            count += 1
    bits = nats / (max(count, 1) * torch.tensor(2.0).log() * text.bytes_per_token)
    return DomainReport(bits.tolist(), (right / max(count, 1)).tolist(), "mask")
