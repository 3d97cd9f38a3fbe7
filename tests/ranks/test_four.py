"""Four processes: every kind of layer, and a text."""

import torch
from ranked import SHAPES, alone, joined, logits_of, shared, text_of

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]


def test_four_processes(folders, tmp_path):
    with joined(4, tmp_path) as ranks:
        for name in SHAPES:
            one, several = alone(folders[name]), shared(ranks, folders[name])
            expected = logits_of(one, PROMPT, (1, 3, 5))
            torch.testing.assert_close(logits_of(several, PROMPT, (1, 3, 5)), expected)
        text = text_of(several, PROMPT, "layerskip", exit_layer=2, max_new_tokens=8)
        assert text == text_of(one, PROMPT, max_new_tokens=8)
