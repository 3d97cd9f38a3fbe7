"""An HTTP server that speaks OpenAI's protocol; needs the extra `serve`.

Not responsible for decoding: `engine.py` gives texts to `decoding.scheduler` and passes on what
their rounds make certain. Everything else here is protocol.
"""
