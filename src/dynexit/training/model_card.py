"""The README of a trained checkpoint: shape, training data, and how well its exits predict."""

from dynexit.model.config import ModelConfig
from dynexit.training.evaluation import DomainReport
from dynexit.training.recipe import Recipe

TEMPLATE = """---
library_name: dynexit
pipeline_tag: text-generation
tags: [early-exit, layerskip, self-speculative-decoding]
---
# An early-exit model trained by dynexit

A {family} of {layers} layers, {hidden} wide, {parameters:.1f}M parameters, {vocab} byte-level BPE
tokens, trained on {tokens:.1f}M tokens with layer dropout up to {dropout} and an early-exit loss
({curriculum} curriculum, {weights} weights, scale {scale}, distilled share {distill}){start}.
It is small and knows little: it exists to show and test decoding, not to be believed.

Text: {domains}.

## Held-out text, per exit layer

Bits per byte of text that was never trained on (lower is better), and how often the exit's most
likely token is the last layer's.

{table}
"""

DIFFUSION = """---
library_name: dynexit
tags: [masked-diffusion, speculative-decoding]
---
# A masked-diffusion model trained by dynexit

A {family} of {layers} layers, {hidden} wide, {parameters:.1f}M parameters, {vocab} tokens with the
mask, trained on {tokens:.1f}M tokens{start}. {share:.0%} of the windows ended in a block of up to
{block} masks; in the others masks were spread. It is small, and writes no text of its own: it
drafts for a model of the same tokenizer (`--method diffuspec --draft-model FOLDER`).

Text: {domains}.

## Held-out text, per mask of a block

Bits per byte of text that was never trained on (lower is better), and how often the likeliest token
is the text's, when a block of {block} masks follows a text.

{table}
"""


def model_card(config: ModelConfig, recipe: Recipe, reports: dict[str, DomainReport]) -> str:
    """Markdown for the hub, measured by `reports`."""
    return (TEMPLATE if config.mask_token is None else DIFFUSION).format(
        family=config.family,
        layers=config.num_layers,
        hidden=config.hidden_size,
        parameters=(config.num_layers * config.layer_parameters + config.head_parameters) / 1e6,
        vocab=config.vocab_size,
        tokens=recipe.optimisation.tokens / 1e6,
        dropout=recipe.early_exit.dropout_max,
        curriculum=recipe.early_exit.curriculum,
        weights=recipe.early_exit.exit_weights,
        scale=recipe.early_exit.loss_scale,
        start=", going on from another checkpoint" if recipe.start_from else "",
        distill=recipe.early_exit.distill,
        share=recipe.diffusion.block_share,
        block=recipe.diffusion.block,
        domains=", ".join(f"{d.name} ({d.weight:g})" for d in recipe.domains),
        table=_table(reports),
    )


def _table(reports: dict[str, DomainReport]) -> str:
    names, first = list(reports), next(iter(reports.values()))
    unit = "exit layer" if first.unit == "layer" else first.unit
    lines = [f"| {unit} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for layer in range(len(first.agreement)):
        cells = (
            f"{reports[name].bits_per_byte[layer]:.3f}, {reports[name].agreement[layer]:.0%}"
            for name in names
        )
        lines.append(f"| {layer + 1} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
