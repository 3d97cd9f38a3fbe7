"""`model.generate(..., custom_generate=dynexit.generate_hf)` beside plain `generate`."""

import threading

import pytest
import torch
from loaded_models import OTHERS, OURS, loaded, prompt
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)
from transformers.generation.stopping_criteria import StopStringCriteria

import dynexit
from dynexit import Controller, DynexitError
from dynexit.integrations.transformers.adapter import Adapter
from dynexit.integrations.transformers.runtimes import runtime_of
from dynexit.model.places import BUNDLED
from dynexit.model.transformer import Transformer

METHODS = ["vanilla", "layerskip:exit_layer=2,speculation_length=3", "del"]
DRAFTING = METHODS[1]
COMMON = ["gemma2", "phi", "olmo2", "granite", "mixtral", "mistral"]
RARE = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS if name not in COMMON]


def ours(model, ids, method=DRAFTING, **options):
    return model.generate(ids, custom_generate=dynexit.generate_hf, method=method, **options)


def assert_same(model, ids, method=DRAFTING, **options):
    """Greedy, unless options say otherwise: ours is plain `generate`'s to the last token."""
    options = {"do_sample": False, "max_new_tokens": 24, **options}
    plain = model.generate(ids, **options)
    assert ours(model, ids, method, **options).tolist() == plain.tolist()
    return plain[0, ids.shape[1] :].tolist()


@pytest.fixture(scope="module")
def llama():
    return loaded("llama")


@pytest.fixture(scope="module")
def bundled():
    return AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", OURS)
def test_a_family_of_ours_runs_on_its_own_weights(family, method):
    model = loaded(family)
    assert len(set(assert_same(model, prompt(), method))) > 2
    assert isinstance(runtime_of(model), Transformer)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("family", COMMON + RARE)
def test_another_family_runs_by_its_own_layers(family, method):
    changes = {"sliding_window": 6} if family == "mistral" else {}
    model = loaded(family, **changes)
    assert len(set(assert_same(model, prompt(), method))) > 1
    assert isinstance(runtime_of(model), Adapter)


@pytest.mark.parametrize("method", METHODS)
def test_the_bundled_checkpoint(bundled, tokenizer, method):
    ids = tokenizer("Question: Tom has 3 boxes of 4 pens.", return_tensors="pt").input_ids
    assert_same(bundled, ids, method, max_new_tokens=40)


def test_a_configuration_is_followed(llama):
    config = GenerationConfig(
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=1.3,
        no_repeat_ngram_size=3,
        bad_words_ids=[[5], [9]],
        min_new_tokens=8,
        eos_token_id=[11, 12],
        pad_token_id=0,
    )
    for method in METHODS:
        assert_same(llama, prompt(), method, generation_config=config)


@pytest.mark.parametrize("method", METHODS)
def test_a_text_ends_with_any_of_several_eos(llama, method):
    plain = assert_same(llama, prompt(), method)
    ends = [plain[9], plain[5]]
    text = assert_same(llama, prompt(), method, eos_token_id=ends, pad_token_id=1)
    assert text[-1] in ends
    assert len(text) <= 6


class Never(LogitsProcessor):
    """Forbids the token that would follow its own kind: depends on what was written last."""

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[torch.arange(len(scores)), (input_ids[:, -1] * 7) % 97] += 4.0
        return scores


class After(StoppingCriteria):
    """Ends a text whose last two tokens are a multiple of five together."""

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids[:, -2:].sum(-1) % 5 == 0


@pytest.mark.parametrize("method", METHODS)
def test_processors_and_criteria_of_ones_own(llama, method):
    plain = assert_same(llama, prompt(), method)
    assert (
        assert_same(llama, prompt(), method, logits_processor=LogitsProcessorList([Never()]))
        != plain
    )
    text = assert_same(llama, prompt(), method, stopping_criteria=StoppingCriteriaList([After()]))
    assert len(text) < len(plain)


def test_stop_strings(bundled, tokenizer):
    ids = tokenizer("Question: Tom has 3 boxes of 4 pens.", return_tensors="pt").input_ids
    criteria = StoppingCriteriaList([StopStringCriteria(tokenizer, ["swer: "])])
    text = assert_same(bundled, ids, "del", stopping_criteria=criteria, max_new_tokens=40)
    assert len(text) < 40


def padded(lengths, pad=0):
    """Prompts of these lengths, padded on the left, and their mask."""
    rows = [prompt(length, seed)[0] for seed, length in enumerate(lengths)]
    ids = torch.full((len(rows), max(lengths)), pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, -len(row) :] = row
        mask[index, -len(row) :] = 1
    return ids, mask


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("method", METHODS)
def test_a_padded_batch(family, method):
    model = loaded(family)
    ids, mask = padded([3, 9, 1, 6])
    alone = ours(model, ids[1:2], method, max_new_tokens=16, do_sample=False)[0, 9:].tolist()
    assert len(set(alone)) > 2
    options = {"attention_mask": mask, "eos_token_id": alone[4], "repetition_penalty": 1.1}
    assert_same(model, ids, method, **options, pad_token_id=0, max_new_tokens=16)


@pytest.mark.parametrize("options", [{}, {"top_k": 20, "top_p": 0.9}, {"num_return_sequences": 3}])
def test_sampled_text_is_vanillas_with_the_seed(llama, options):
    options = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 24, **options}
    plain = ours(llama, prompt(), "vanilla", seed=7, **options)
    assert len(set(map(tuple, plain.tolist()))) == options.get("num_return_sequences", 1)
    for method in METHODS[1:]:
        assert ours(llama, prompt(), method, seed=7, **options).tolist() == plain.tolist()
    assert ours(llama, prompt(), "vanilla", seed=8, **options).tolist() != plain.tolist()


def test_the_seed_comes_from_torch_where_none_is_given(llama):
    texts = []
    for _ in range(2):
        torch.manual_seed(3)
        texts.append(ours(llama, prompt(), "del", do_sample=True, max_new_tokens=12).tolist())
    assert texts[0] == texts[1]


def test_sampled_tokens_are_distributed_as_generates(llama):
    options = {"do_sample": True, "max_new_tokens": 1, "num_return_sequences": 400, "top_k": 4}
    counts = [
        torch.bincount(made[:, -1], minlength=97)
        for made in (
            llama.generate(prompt(), **options),
            ours(llama, prompt(), "vanilla", seed=0, **options),
        )
    ]
    assert float((counts[0] - counts[1]).abs().max()) < 70  # five standard deviations at the least


class Asking(Controller):
    """Wants to know beforehand how the exits do."""

    reads_sample = True

    def start(self, facts):
        super().start(facts)
        self.sample = facts.sample


@pytest.mark.parametrize("length", [1, 5])
def test_methods_learn_of_the_exits_beforehand(length):
    model, controller = loaded("llama", dtype=torch.float64), Asking()
    ours(model, prompt()[:, :length], controller, max_new_tokens=2, do_sample=False)
    assert controller.sample.layers == tuple(range(1, model.config.num_hidden_layers))


def test_counters_come_with_the_dictionary(llama):
    options = {"max_new_tokens": 20, "do_sample": False, "return_dict_in_generate": True}
    made = ours(llama, prompt(), "layerskip:exit_layer=2", **options)
    plain = llama.generate(prompt(), max_new_tokens=20, do_sample=False)
    assert made.sequences.tolist() == plain.tolist()
    assert made.statistics[0].drafted > 0


def test_a_streamer_hears_everything_and_the_end(bundled, tokenizer):
    ids = tokenizer("Question: Tom has 3 boxes", return_tensors="pt").input_ids
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60)
    options = {"max_new_tokens": 24, "do_sample": False}
    arguments = {"streamer": streamer, **options}
    thread = threading.Thread(target=lambda: ours(bundled, ids, "del", **arguments))
    thread.start()
    text = "".join(streamer)
    thread.join()
    plain = bundled.generate(ids, **options)[0, ids.shape[1] :]
    assert text == tokenizer.decode(plain)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_on_cuda_with_ids_there_or_here(family, method):
    model = loaded(family, dtype=torch.float64).cuda()
    for ids in (prompt(), prompt().cuda()):
        assert_same(model, ids, method)
        assert ours(model, ids, method, max_new_tokens=4).device == ids.device
    runtime = runtime_of(model)
    assert runtime.device.type == "cuda"


def test_two_models(llama):
    small = loaded("llama", seed=0, num_hidden_layers=2)
    assert_same(llama, prompt(), "vanilla")
    options = {"max_new_tokens": 20, "do_sample": False}
    plain = llama.generate(prompt(), **options)
    made = ours(llama, prompt(), "two-model", draft_model=small, **options)
    assert made.tolist() == plain.tolist()


REFUSED = {
    "beam search": {"num_beams": 2},
    "assisted generation": {"prompt_lookup_num_tokens": 3},
    "assistant_model": {"assistant_model": loaded("llama")},
    "output_scores": {"output_scores": True, "return_dict_in_generate": True},
    "left": {"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0, 0]])},
    "position_ids": {"position_ids": torch.arange(3, 10)[None]},
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(llama, named):
    with pytest.raises(DynexitError, match=named):
        ours(llama, prompt(), max_new_tokens=4, **REFUSED[named])


def test_a_streamer_for_a_batch_is_refused(llama, tokenizer):
    ids, mask = padded([3, 5])
    streamer = TextIteratorStreamer(tokenizer)
    streamer.put = lambda ids: None  # which refuses the batch itself, before ours is asked
    with pytest.raises(DynexitError, match="one prompt"):
        ours(llama, ids, attention_mask=mask, streamer=streamer, max_new_tokens=4)


def test_several_greedy_texts_are_refused(llama):
    with pytest.raises((DynexitError, ValueError), match="num_return_sequences"):
        ours(llama, prompt(), max_new_tokens=4, num_return_sequences=2, do_sample=False)


def test_an_encoder_decoder_is_refused():
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = AutoConfig.for_model("t5", vocab_size=97, decoder_start_token_id=0, **sizes)
    with pytest.raises(DynexitError, match="encoder-decoder"):
        ours(AutoModelForSeq2SeqLM.from_config(config).eval(), prompt(), max_new_tokens=4)


@pytest.mark.parametrize("family", ["mamba", "opt"])
def test_a_model_that_cannot_run_in_parts_is_refused(family):
    sizes = {"ffn_dim": 40, "word_embed_proj_dim": 32} if family == "opt" else {}
    model = loaded(family, **sizes)
    with pytest.raises(DynexitError, match=r"cannot (run in parts|be rolled back)"):
        ours(model, prompt(), max_new_tokens=4)


def test_a_model_in_training_is_refused(llama):
    model = loaded("llama").train()
    with pytest.raises(DynexitError, match="eval"):
        ours(model, prompt(), max_new_tokens=4)


@pytest.mark.parametrize("token", [97, -1])
def test_a_token_outside_the_vocabulary_is_refused(llama, token):
    with pytest.raises(DynexitError, match=f"token id {token} is outside"):
        ours(llama, torch.tensor([[3, token]]), max_new_tokens=4)


@pytest.mark.parametrize("shape", [(1, 0), (0, 3)])
def test_nothing_to_continue_is_refused(llama, shape):
    with pytest.raises(DynexitError, match="prompt is empty"):
        ours(llama, torch.zeros(shape, dtype=torch.long), bos_token_id=1, max_new_tokens=4)


def test_a_prompt_past_the_context_is_refused(llama):
    with pytest.raises(DynexitError, match="context holds 128"):
        ours(llama, prompt(130), max_new_tokens=4)
