"""GGUF files: what llama.cpp runs, and what lies on most people's disks.

Not responsible for how quantised weights are multiplied: that is the native library's.

- `header.py` reads a file's metadata and where its tensors lie, and believes neither.
- `files.py` finds the files that a name means: one, all parts of one, or one of a repository's.
- `shape.py` says what model it is, as a `config.json` would.
- `blocks.py` knows the types of numbers, and turns their blocks into floats.
- `weights.py` gives tensors under the names of a Hugging Face checkpoint.
- `tokens.py` reads a tokenizer, and `vocabulary.py` writes one.
- `writing.py` writes a file.
"""
