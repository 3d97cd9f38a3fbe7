"""GGUF files, llama.cpp's format.

Not responsible for how quantised weights are multiplied: that is the native library's.

- `header.py` reads and checks a file's metadata and the places of its tensors.
- `files.py` finds the files of a name: one, all parts of one, or one of a repository's.
- `shape.py` gives the model's shape, as a `config.json` would.
- `blocks.py` knows the types of numbers, and converts their blocks to floats.
- `weights.py` gives tensors under the names of a Hugging Face checkpoint.
- `tokens.py` reads a tokenizer, and `vocabulary.py` writes one.
- `writing.py` writes a file.
"""
