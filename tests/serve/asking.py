"""Requests for tests, as clients without a library send them."""

import json
import urllib.error
import urllib.request

from running import PROMPTS

ASKED = {"model": "bundled", "prompt": PROMPTS[0], "max_tokens": 12, "temperature": 0}


def post(url, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def sent(server, path, body):
    return post(f"{server.url}/v1/{path}", body, **{"content-type": "application/json"})
