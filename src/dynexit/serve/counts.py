"""What replies say about decoding: usage, counts of rounds, and the trace of one round."""

from collections.abc import Callable

from dynexit.decoding.records import Draft
from dynexit.decoding.statistics import Statistics
from dynexit.serve.ongoing import Ongoing
from dynexit.serve.replies import Counts, PromptDetails, RejectedToken, Trace, TracedToken, Usage
from dynexit.serve.work import Progress

Piece = Callable[[int], str]


def usage_of(ongoing: Ongoing) -> Usage:
    """Tokens of every prompt and of every text."""
    prompts, texts = ongoing.prompt_tokens, ongoing.tokens
    return Usage(
        prompt_tokens=prompts,
        completion_tokens=texts,
        total_tokens=prompts + texts,
        prompt_tokens_details=PromptDetails(cached_tokens=ongoing.cached_tokens),
    )


def counts_of(ongoing: Ongoing) -> Counts:
    """Counts of a request's texts, which ran side by side."""
    every = [sequence.stats for sequence in ongoing.sequences]
    whole = Statistics(
        every[0].num_layers,
        [done for stats in every for done in stats.rounds],
        max(stats.prefill_seconds for stats in every),
        max(stats.decode_seconds for stats in every),
    )
    return Counts(
        method=ongoing.method,
        lossless=ongoing.sequences[0].controller.lossless,
        seeds=[sequence.sampler.seed for sequence in ongoing.sequences],
        rounds=len(whole.rounds),
        drafted=whole.drafted,
        accepted=whole.accepted,
        acceptance_rate=whole.acceptance_rate,
        mean_acceptance_length=whole.mean_acceptance_length,
        tokens_per_second=whole.tokens_per_second,
        prefill_seconds=whole.prefill_seconds,
        decode_seconds=whole.decode_seconds,
    )


def trace_of(
    progress: Progress, index: int, piece: Piece, prompt: list[int] | None = None
) -> Trace:
    """What a round did, token by token; round 0 is the prefill."""
    done = progress.round
    draft = (done.draft if done else None) or Draft()
    drafted, path = draft.tokens, done.path if done else ()
    likely: list[float | None] = [*draft.confidences] or [None] * len(drafted)
    if draft.ranks is not None:  # only the best children's are known
        likely = [None if rank else sure for sure, rank in zip(likely, draft.ranks, strict=True)]
    sure = [*(likely[row - 1] for row in path), None, None]  # the target's, a held-back rest
    return Trace(
        round=index,
        drafter=done.plan.drafter if done and drafted else None,
        exit_layer=done.plan.exit_layer if done and drafted else None,
        drafted=done.drafted if done else 0,
        accepted=done.accepted if done else 0,
        tokens=[
            TracedToken(
                id=chunk.token_ids[0] if chunk.token_ids else -1,
                text=chunk.text,
                source=chunk.source,
                confidence=confidence,
            )
            for chunk, confidence in zip(progress.chunks, sure, strict=False)
        ],
        rejected=[
            RejectedToken(id=token, text=piece(token), confidence=confidence)
            for row, (token, confidence) in enumerate(zip(drafted, likely, strict=True), 1)
            if row not in path
        ],
        draft_seconds=done.draft_seconds if done else 0.0,
        verify_seconds=done.verify_seconds if done else 0.0,
        control_seconds=done.control_seconds if done else 0.0,
        text_seconds=done.text_seconds if done else 0.0,
        at=progress.seconds,
        prompt_ids=prompt,
    )
