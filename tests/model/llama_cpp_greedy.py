"""What llama.cpp makes of a file: `python llama_cpp_greedy.py FILE TOKENS < prompts.json`.

A process of its own: built for another processor, llama.cpp ends the one that calls it.
"""

import json
import sys

import llama_cpp
import numpy as np


def main(file, count):
    """Writes each prompt's tokens and the greedy ones that follow."""
    exact = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    llama = llama_cpp.Llama(file, n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False, **exact)
    for prompt in json.load(sys.stdin):
        tokens = llama.tokenize(prompt.encode(), add_bos=True, special=True)
        llama.reset()
        llama.eval(tokens)
        found = []
        while len(found) < count:
            logits = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
            found.append(int(np.ctypeslib.as_array(logits, (llama.n_vocab(),)).argmax()))
            llama.eval(found[-1:])
        sys.stdout.write(json.dumps([tokens, found]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
