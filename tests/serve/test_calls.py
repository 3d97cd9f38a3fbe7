"""Tool calls: by the real client, with a template of each family that writes them."""

import json
import random

import openai
import pytest
from chat_models import chat_model

from dynexit.serve.calling.families import HERMES, LLAMA, MISTRAL, family_of
from dynexit.serve.calling.reading import Argued, Began, CallReader, Said

pytest.importorskip("llguidance")

TURNS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}CALL{% endfor %}\n{% endfor %}assistant:"
)
WRITES = {  # how each writes a call of its own
    "hermes": "<tool_call>\n{{ c.function | tojson }}\n</tool_call>",
    "llama": '{"name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}',
    "mistral": "[TOOL_CALLS] [{{ c.function | tojson }}]"
    "{% if c.id | length != 9 %}{{ raise_exception('an id has 9 letters') }}{% endif %}",
}
TELLS = {  # and what it says of tools
    "hermes": "<tools>{{ tools | tojson }}</tools> call as <tool_call>\n{...}\n</tool_call>\n",
    "llama": '{{ tools | tojson }} {"name": ..., "parameters": ...}<|eot_id|>\n',
    "mistral": "[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]\n",
}
TEMPLATES = {
    name: f"{{% if tools %}}{TELLS[name]}{{% endif %}}" + TURNS.replace("CALL", WRITES[name])
    for name in TELLS
}
FAMILIES = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 9}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Of a city.", "parameters": CITY},
    },
    {"type": "function", "function": {"name": "now"}},
]
ASKED = {"model": "bundled", "messages": [{"role": "user", "content": "How warm is Rome?"}]}
WRONG = {"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module", params=TEMPLATES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def chat(family, serving, tmp_path_factory):
    model = chat_model(tmp_path_factory.mktemp(family), TEMPLATES[family])
    with serving(model, name="bundled") as running:
        yield running.client()


def ask(chat, **options):
    return chat.chat.completions.create(
        **{**ASKED, "tools": TOOLS, "max_tokens": 90, "seed": 5, **options}
    )


def test_a_template_tells_its_family(family):
    assert family_of(TEMPLATES[family]) is FAMILIES[family]


def test_a_named_tool_is_called_once(chat):
    choice = ask(chat, tool_choice=NAMED).choices[0]
    (call,) = choice.message.tool_calls
    assert call.function.name == "weather"
    found = json.loads(call.function.arguments)
    assert list(found) == ["city", "unit"]
    assert found["unit"] in "CF"
    assert choice.message.content is None
    assert choice.finish_reason == "stop"


def test_a_required_call_streams_what_the_whole_reply_has(chat):
    options = {"tool_choice": "required", "parallel_tool_calls": False}
    whole = ask(chat, **options).choices[0]
    (call,) = whole.message.tool_calls
    assert whole.finish_reason == "tool_calls"
    with chat.chat.completions.stream(
        **{**ASKED, "tools": TOOLS, "max_tokens": 90, "seed": 5, **options}
    ) as stream:
        pieces = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        last = stream.get_final_completion().choices[0]
    (streamed,) = last.message.tool_calls
    assert streamed.function.name == call.function.name
    assert streamed.function.arguments == call.function.arguments
    assert "".join(p.arguments_delta for p in pieces) == call.function.arguments
    assert streamed.id
    assert last.finish_reason == "tool_calls"
    if call.function.name == "weather":
        assert len(pieces) > 1


@pytest.mark.parametrize("method", ["vanilla", "auto", "layerskip", "del"])
def test_every_method_calls_alike(chat, method):
    options = {"tool_choice": "required", "temperature": 0}
    plain, other = (
        ask(chat, **options, extra_body={"dynexit": {"method": name}}).choices[0].message.tool_calls
        for name in ("vanilla", method)
    )
    assert [c.function for c in plain] == [c.function for c in other]


def test_a_call_and_its_answer_go_back_into_the_conversation(chat):
    message = ask(chat, tool_choice=NAMED).choices[0].message
    call = message.tool_calls[0]
    turns = [
        *ASKED["messages"],
        message,
        {"role": "tool", "tool_call_id": call.id, "content": "21"},
    ]
    answer = ask(chat, messages=turns, tool_choice="none").choices[0]
    assert answer.message.tool_calls is None
    assert answer.message.content


def test_auto_leaves_the_text_as_it_is_where_nothing_is_called(chat):
    """The bundled model calls nothing by itself."""
    auto = ask(chat, tool_choice="auto", temperature=0, max_tokens=12)
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in ask(chat, temperature=0, max_tokens=12, stream=True)
    )
    assert auto.choices[0].message.tool_calls is None
    assert auto.choices[0].message.content == text
    assert text


def test_auto_reads_a_call_that_the_model_writes(chat, family):
    """A text that is held to the family's form and nothing else asks for no call, and is one."""
    sign = {"hermes": "<tool_call>\n", "llama": "", "mistral": "[TOOL_CALLS] ["}[family]
    after = {"hermes": "\n</tool_call>", "llama": "", "mistral": "]"}[family]
    key = FAMILIES[family].key
    begun = sign + f'{{"name": "weather", "{key}": {{"city": "Rome", "unit": "C"}}}}' + after
    reader = CallReader(FAMILIES[family])
    pieces = [*reader.feed(begun), *reader.end()]
    assert [type(piece) for piece in pieces] == [Began, Argued]
    assert json.loads(pieces[1].text) == {"city": "Rome", "unit": "C"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "not among the tools"),
        ({"tools": [], "tool_choice": "required"}, "there are no tools"),
        (
            {"tools": [TOOLS[0], TOOLS[0]], "tool_choice": "required"},
            "two tools have the same name",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"response_format": {"type": "json_object"}}, "a constraint and tools"),
        ({"tools": [WRONG], "tool_choice": "required"}, "a tool's parameters cannot be followed"),
    ],
)
def test_what_cannot_be_called_is_400(chat, fields, message):
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        ask(chat, **fields)
    assert "\n" not in caught.value.body["message"]


def test_a_template_without_tools_is_told(serving, tmp_path):
    with (
        serving(chat_model(tmp_path), name="bundled") as running,
        pytest.raises(openai.BadRequestError, match="chat template does not support tools"),
    ):
        ask(running.client())


TEXTS = {
    "two calls": (
        HERMES,
        'Sure.\n<tool_call>\n{"name": "f", "arguments": {"a": "}{\\""}}\n</tool_call>\n'
        '<tool_call>{"name": "g", "arguments": {}}</tool_call>',
        [("f", '{"a": "}{\\""}'), ("g", "{}")],
        "Sure.\n",
    ),
    "arguments first": (
        HERMES,
        '<tool_call>\n{"arguments": {"a": 1}, "name": "f"}\n</tool_call>',
        [("f", '{"a": 1}')],
        "",
    ),
    "no arguments": (HERMES, '<tool_call>{"name": "f"}</tool_call>', [("f", "{}")], ""),
    "arguments as text": (
        HERMES,
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
        [("f", '{"a": 1}')],
        "",
    ),
    "no call": (HERMES, "a < b, and <tool> is no sign", [], "a < b, and <tool> is no sign"),
    "not JSON": (HERMES, "<tool_call>weather(Rome)", [], "weather(Rome)"),
    "no name": (HERMES, '<tool_call>{"a": 1}</tool_call>', [], '{"a": 1}'),
    "cut off": (HERMES, '<tool_call>{"name": "f", "arguments": {"a', [("f", '{"a')], ""),
    "python tag": (
        LLAMA,
        '<|python_tag|>{"name": "f", "parameters": {"a": [1]}}; {"name": "g", "parameters": {}}',
        [("f", '{"a": [1]}'), ("g", "{}")],
        "",
    ),
    "bare": (LLAMA, ' {"name": "f", "parameters": {"a": 1}}', [("f", '{"a": 1}')], ""),
    "JSON that calls nothing": (LLAMA, '{"a": 1}', [], '{"a": 1}'),
    "text": (LLAMA, "It is {warm}.", [], "It is {warm}."),
    "a list": (
        MISTRAL,
        '[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"b": 2}}]',
        [("f", "{}"), ("g", '{"b": 2}')],
        "",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_calls_are_read_whatever_the_pieces(name):
    family, text, calls, said = TEXTS[name]
    draw = random.Random(3)
    for longest in (len(text), 1, 2, 5, 11):
        reader, pieces, rest = CallReader(family), [], text
        while rest:
            cut = draw.randint(1, longest)
            pieces += reader.feed(rest[:cut])
            rest = rest[cut:]
        pieces += reader.end()
        found = [[piece.name, ""] for piece in pieces if isinstance(piece, Began)]
        for piece in pieces:
            if isinstance(piece, Argued):
                found[piece.index][1] += piece.text
        assert [tuple(one) for one in found] == calls
        assert "".join(piece.text for piece in pieces if isinstance(piece, Said)) == said


def test_one_call_is_all_where_one_is_asked_for():
    reader = CallReader(HERMES, one=True)
    text = TEXTS["two calls"][1]
    pieces = [*reader.feed(text), *reader.end()]
    assert [piece.name for piece in pieces if isinstance(piece, Began)] == ["f"]
