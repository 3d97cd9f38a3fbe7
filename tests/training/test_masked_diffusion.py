"""The masked-diffusion objective, and a run of it that drafts for the model that it began as."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_trainer import trainer
from typer.testing import CliRunner

import dynexit
from dynexit.cli import app
from dynexit.errors import DynexitError
from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.transformer import Transformer
from dynexit.training import masked_diffusion
from dynexit.training.masked_diffusion import (
    LEAST,
    MaskedDiffusion,
    Masks,
    predictions,
    random_masks,
    to_diffusion,
)
from dynexit.training.recipe import Diffusion
from dynexit.training.start import initialise
from dynexit.training.trainer import Progress

CAUSAL = ModelConfig("llama", 31, 16, 32, 4, 2, 1, 8, 64, tie_embeddings=True)
MASKED = {
    "objective": "masked-diffusion",
    "diffusion": {"layers": 2, "block_share": 0.5, "block": 16},
    "optimisation": {"tokens": 5120, "window": 64, "batch_windows": 8, "micro_windows": 4},
}


def causal_model() -> Transformer:
    torch.manual_seed(0)
    return initialise(Transformer(CAUSAL)).double()


def test_a_causal_model_becomes_a_shifted_one_with_a_token_more() -> None:
    causal = causal_model()
    made = to_diffusion(causal, 3).double()
    config = made.config
    assert (config.family, config.num_layers, config.shifted) == ("Dream", 3, True)
    assert (config.vocab_size, config.mask_token) == (32, 31)
    assert torch.equal(made.layer(2).down.weight, causal.layer(2).down.weight)
    assert torch.equal(made.embedding.weight[:31], causal.embedding.weight)
    assert torch.allclose(made.embedding.weight[31], causal.embedding.weight.mean(0))
    assert made.head.weight is made.embedding.weight
    assert not made.layer(0).qkv.bias.any()
    tokens = torch.randint(31, (1,))  # one position sees the same with and without a causal mask
    states = [
        model.run_layers(model.embed(tokens), model.rows([Span(model.new_cache(), 0, 1)]), 0, 3)
        for model in (causal, made)
    ]
    assert torch.allclose(*states)
    assert to_diffusion(made, 0) is made


@pytest.mark.parametrize(
    ("changes", "layers", "said"),
    [({"qk_norm": True}, 0, "parts that Dream's form"), ({}, 9, "it has 4 layers")],
)
def test_what_cannot_become_one_is_refused(
    changes: dict[str, bool], layers: int, said: str
) -> None:
    with pytest.raises(DynexitError, match=said):
        to_diffusion(Transformer(replace(CAUSAL, **changes)), layers)


def test_masks_are_spread_or_a_block_at_the_end() -> None:
    torch.manual_seed(0)
    masks = random_masks(400, 50, Diffusion())
    assert not masks.hidden[:, 0].any()
    assert masks.share.min() >= LEAST
    assert torch.allclose(masks.share.sort().values.diff(), torch.tensor(1 / 400), atol=1e-4)
    found = masks.hidden[:, 1:].float().mean(1)
    assert (found - masks.share).abs().mean() < 0.06
    blocks = random_masks(400, 50, Diffusion(block_share=1.0, block=8))
    sizes = blocks.hidden.sum(1)
    assert set(sizes.tolist()) == set(range(1, 9))
    assert (blocks.hidden.diff(dim=1).sum(1) == 1).all()  # one edge: all masks are at the end
    assert torch.allclose(blocks.share * 50, sizes.float())


@pytest.mark.parametrize("shifted", [False, True])
def test_the_loss_is_weighted_by_one_over_t(shifted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CAUSAL, vocab_size=32, mask_token=31, shifted=shifted)
    torch.manual_seed(1)
    model = initialise(Transformer(config)).double()
    tokens = torch.randint(31, (2, 13))
    hidden = torch.rand(2, 12) < 0.4
    hidden[:, 0] = False
    masks = Masks(hidden, torch.tensor([0.25, 0.5]))
    monkeypatch.setattr(masked_diffusion, "random_masks", lambda *_: masks)
    losses = MaskedDiffusion(model, Diffusion())(tokens, 0, 0.0)
    expected = 0.0
    for row in range(2):
        seen = tokens[row, 1:].masked_fill(hidden[row], 31)
        with torch.no_grad():
            span = Span(model.new_cache(), 0, 12)
            logits = model.unembed(
                model.run_layers(model.embed(seen), model.rows([span]), 0, config.num_layers)
            )
        for place in hidden[row].nonzero()[:, 0].tolist():
            target = tokens[row, 1 + place]
            nats = F.cross_entropy(logits[place - shifted], target)
            expected += float(nats) / float(masks.share[row]) / 24
    assert float(losses.last) == pytest.approx(expected, rel=1e-6)
    assert losses.total.requires_grad


def test_predictions_do_not_see_what_is_hidden() -> None:
    model = to_diffusion(causal_model(), 0)
    tokens = torch.randint(31, (1, 12))
    hidden = torch.zeros(1, 12, dtype=torch.bool)
    hidden[:, 5:8] = True
    first = predictions(model, tokens, hidden)
    tokens[hidden] = (tokens[hidden] + 1) % 31
    assert torch.equal(predictions(model, tokens, hidden), first)


def test_a_run_makes_a_draft_model_for_where_it_began(tmp_path: Path) -> None:
    trainer(tmp_path, tmp_path / "target").run(lambda _: None)
    seen: list[Progress] = []
    out = tmp_path / "draft"
    run = trainer(tmp_path, out, start_from=str(tmp_path / "target"), **MASKED)
    reports = run.run(seen.append)
    assert reports is not None
    assert {len(report.agreement) for report in reports.values()} == {8}
    assert {report.unit for report in reports.values()} == {"mask"}
    assert seen[-1].loss < seen[0].loss
    assert "masked-diffusion model" in (out / "README.md").read_text()
    target = dynexit.load(tmp_path / "target", dtype="fp32", check=False)
    second = dynexit.load(out, dtype="fp32")
    assert second.kind == "diffusion"
    assert second.num_layers == 2
    prompt = "def draft(self, plan):\n    return"
    plain = target.generate(prompt, "vanilla", max_new_tokens=24)
    drafted = target.generate(prompt, "diffuspec", max_new_tokens=24, draft_model=second)
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.drafted > 0


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, cut = (trainer(tmp_path, tmp_path / name, **without_layers()) for name in ("a", "b"))
    whole.run(lambda _: None)

    def stop(state: Progress) -> None:
        if state.step == 4:
            cut.stop()

    assert cut.run(stop) is None
    again = trainer(tmp_path, tmp_path / "b", **without_layers())
    assert again.step == 4
    again.run(lambda _: None)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def without_layers() -> dict[str, object]:
    """Of a model that is trained anew."""
    return {**MASKED, "diffusion": {"block": 16}}


def test_another_objective_is_another_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, tmp_path / "run", **without_layers())
    run.stop()
    assert run.run(lambda _: None) is None
    with pytest.raises(DynexitError, match="belongs to a different recipe"):
        trainer(tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion": {"block": 40}}, "longer than half of optimisation.window"),
        ({"diffusion": {"block": 0}}, "block is 0"),
        ({"diffusion": {"block_share": 2.0, "block": 8}}, "block_share is 2.0"),
        ({"adapter": {"rank": 4}, "start_from": "bundled"}, "an adapter is for the objective"),
        ({"objective": "other"}, "objective"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DynexitError, match=said):
        trainer(tmp_path, tmp_path / "run", **{**MASKED, **changes})


def test_the_command_names_the_objectives(tmp_path: Path) -> None:
    from test_trainer import SOURCE, write_recipe

    command = ["train", str(write_recipe(tmp_path)), "--data-dir", str(SOURCE)]
    command += ["-o", str(tmp_path / "run"), "--objective"]
    refused = CliRunner().invoke(app, [*command, "other"])
    assert isinstance(refused.exception, DynexitError | SystemExit)
    settings = ["--set", "diffusion.block=16", "--set", "optimisation.tokens=1024"]
    ran = CliRunner().invoke(app, [*command, "masked-diffusion", *settings])
    assert ran.exit_code == 0, ran.output
    assert "mask 1" in ran.output
