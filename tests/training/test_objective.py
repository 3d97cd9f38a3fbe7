import math

import pytest
import torch
import torch.nn.functional as F

from dynexit.model.config import ModelConfig
from dynexit.model.interface import Span
from dynexit.model.transformer import Transformer
from dynexit.training.cross_entropy import cross_entropy
from dynexit.training.muon import Muon, orthogonalise
from dynexit.training.objective import Objective, dropout_rate, enabled_exits, exit_weight
from dynexit.training.recipe import EarlyExit
from dynexit.training.start import initialise
from dynexit.training.trainer import rate_factor

LAYERS = 8


def tiny_model() -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig("llama", 31, 16, 32, LAYERS, 2, 1, 8, 64, tie_embeddings=True)
    return initialise(Transformer(config)).double()


def test_dropout_rises_exponentially_over_depth_and_training() -> None:
    settings = EarlyExit(dropout_max=0.2)
    assert dropout_rate(settings, 0, LAYERS, 1.0) == 0
    assert dropout_rate(settings, LAYERS - 1, LAYERS, 1.0) == pytest.approx(0.2)
    middle = 2 ** (3 / 7) - 1
    assert dropout_rate(settings, 3, LAYERS, 0.5) == pytest.approx(0.2 * middle * (2**0.5 - 1))
    constant = EarlyExit(dropout_max=0.2, dropout_schedule="constant")
    assert dropout_rate(constant, 3, LAYERS, 0.0) == pytest.approx(0.2 * middle)


def test_rotational_curriculum_visits_every_early_layer_once_a_turn() -> None:
    settings = EarlyExit(curriculum="rotational", rotation=3)
    visited = [layer for step in range(3) for layer in enabled_exits(settings, LAYERS, step, 0.0)]
    assert sorted(visited) == list(range(LAYERS - 1))


def test_gradual_curriculum_starts_deep_and_has_all_by_half_way() -> None:
    settings = EarlyExit(curriculum="gradual")
    assert enabled_exits(settings, LAYERS, 0, 0.0) == []
    assert enabled_exits(settings, LAYERS, 0, 0.1) == [5, 6]
    assert enabled_exits(settings, LAYERS, 0, 0.5) == list(range(LAYERS - 1))


def test_exit_weights_are_the_papers() -> None:
    settings = EarlyExit(loss_scale=0.5)
    assert exit_weight(settings, 3, LAYERS) == 0.5 * (0 + 1 + 2 + 3)
    assert exit_weight(settings, LAYERS - 1, LAYERS) == (LAYERS - 1) + 0.5 * sum(range(LAYERS - 1))


def test_uniform_exit_weights_are_relative_to_the_last_layers() -> None:
    settings = EarlyExit(loss_scale=0.3, exit_weights="uniform")
    weights = [exit_weight(settings, layer, LAYERS) for layer in range(LAYERS)]
    assert weights == [0.3] * (LAYERS - 1) + [1.0]


def test_loss_is_the_weighted_mean_of_the_enabled_exits() -> None:
    model, settings = tiny_model(), EarlyExit(dropout_max=0.0, rotation=3)
    tokens = torch.randint(31, (2, 12))
    losses = Objective(model, settings)(tokens, step=1, progress=0.0)
    hidden = model.embed(tokens[:, :-1])
    wanted, total = 0.0, 0.0
    for layer in [*enabled_exits(settings, LAYERS, 1, 0.0), LAYERS - 1]:
        weight, value = exit_weight(settings, layer, LAYERS), 0.0
        for row in range(2):
            with torch.no_grad():
                rows = model.rows([Span(model.new_cache(), 0, 11)])
                logits = model.unembed(model.run_layers(hidden[row], rows, 0, layer + 1))
            value += float(F.cross_entropy(logits, tokens[row, 1:])) / 2
        wanted, total = wanted + weight * value, total + weight
    assert float(losses.total.detach()) == pytest.approx(wanted / total, rel=1e-9)


def test_dropped_layers_leave_a_window_as_it_was() -> None:
    model = tiny_model()
    everything = Objective(model, EarlyExit(dropout_max=0.0, loss_scale=0.0))
    tokens = torch.randint(31, (4, 12))
    plain = float(everything(tokens, 0, 1.0).last)
    dropping = Objective(model, EarlyExit(dropout_max=1.0, loss_scale=0.0))
    torch.manual_seed(1)
    assert float(dropping(tokens, 0, 1.0).last) != plain  # the last layer's rate is 1
    only_first = model.unembed(model.embed(tokens[:, :-1].flatten()))
    assert math.isfinite(F.cross_entropy(only_first, tokens[:, 1:].flatten()).item())


def test_distillation_gives_the_last_layer_no_gradient_from_the_exits() -> None:
    model = tiny_model()
    tokens = torch.randint(31, (2, 12))
    settings = EarlyExit(dropout_max=0.0, rotation=2, distill=1.0)
    losses = Objective(model, settings)(tokens, 0, 0.0)
    losses.total.backward()
    with_exits = model.layer(LAYERS - 1).down.weight.grad.clone()
    weights = [exit_weight(settings, e, LAYERS) for e in enabled_exits(settings, LAYERS, 0, 0.0)]
    last = exit_weight(settings, LAYERS - 1, LAYERS)
    model.zero_grad()
    alone = Objective(model, EarlyExit(dropout_max=0.0, loss_scale=0.0))(tokens, 0, 0.0)
    alone.total.backward()
    share = last / (last + sum(weights))
    assert torch.allclose(with_exits, share * model.layer(LAYERS - 1).down.weight.grad)


@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_and_its_gradient(soft: bool) -> None:
    logits = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(5, 11).double().softmax(-1) if soft else torch.randint(11, (5,))
    assert torch.allclose(cross_entropy(logits, reference), F.cross_entropy(logits, reference))
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, reference), (logits,))


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 40, 16)
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.4


def test_muon_descends_a_quadratic() -> None:
    target, weight = torch.randn(6, 9), torch.zeros(6, 9, requires_grad=True)
    optimiser = Muon([weight], lr=0.05, weight_decay=0.0)
    first = (weight - target).square().sum().item()
    for _ in range(100):
        optimiser.zero_grad()
        (weight - target).square().sum().backward()
        optimiser.step()
    assert (weight - target).square().sum().item() < 0.1 * first


def test_learning_rate_warms_up_holds_and_decays_to_zero() -> None:
    factors = [rate_factor(step, 100, 0.1, 0.4) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[30] == 1.0
    assert factors[99] == pytest.approx(1 / 40)
