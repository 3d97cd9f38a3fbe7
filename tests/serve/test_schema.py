"""The server against its own schema: requests that fit it, and requests that do not."""

import openai
import pytest
from hypothesis import HealthCheck, given, settings

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode, checks  # noqa: E402

ROUTES = (
    "post /v1/completions",
    "post /v1/chat/completions",
    "get /v1/models",
    "get /v1/models/{model}",
    "post /dynexit/layers",
    "get /health",
    "get /metrics",
)
KEY = {"authorization": "Bearer secret"}
MODES = {"fitting": GenerationMode.POSITIVE, "unfitting": GenerationMode.NEGATIVE}


@pytest.fixture(scope="module")
def api(serving):
    """The schema of a server whose texts are short, so that a valid request costs little."""
    with serving(max_new_tokens=8, max_choices=4, api_key="secret") as running:
        yield schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def test_the_schema_names_what_is_served(api):
    listed = {
        f"{method} {path}"
        for path, methods in api.raw_schema["paths"].items()
        for method in methods
    }
    assert listed == set(ROUTES)


def be_served(body):
    """Ask for the model that is there, and with patience: a 504 in a hurry would be in order."""
    if isinstance(body.get("model"), str):
        body["model"] = "bundled"
    ours = body.get("dynexit")
    if isinstance(ours, dict) and isinstance(ours.get("deadline_seconds"), float):
        ours["deadline_seconds"] = max(ours["deadline_seconds"], 60.0)


def hurried(deadline, client):
    extra = {"dynexit": {"deadline_seconds": deadline}}
    return client.completions.create(
        model="bundled", prompt="Hello", max_tokens=1, temperature=0, extra_body=extra
    )


def test_a_deadline_that_no_text_could_meet_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="deadline_seconds"):
        hurried(5e-324, client)
    assert hurried(60, client).usage.completion_tokens == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("route", ROUTES)
def test_replies_are_those_of_the_schema(api, route, mode, request):
    examples = 300 if request.config.getoption("--slow") else 8
    method, path = route.split()
    operation = api[path][method]
    if mode == "unfitting" and not (operation.body or operation.path_parameters):
        pytest.skip("nothing can be wrong with this request")

    @given(case=operation.as_strategy(generation_mode=MODES[mode]))
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def send(case):
        if isinstance(case.body, dict):
            be_served(case.body)
        # What a schema cannot say is refused, too: a text longer than the context, unknown methods.
        # And the check of keys sends ours along, which test_refusals.py leaves out.
        excluded = [checks.positive_data_acceptance, checks.ignored_auth]
        if mode == "unfitting":  # the name may have been what was wrong
            excluded.append(checks.negative_data_rejection)
        case.call_and_validate(headers=KEY, excluded_checks=excluded, timeout=60)

    send()
