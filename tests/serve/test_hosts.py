"""Names and keys that a server is asked with."""

import http.client

import pytest

from dynexit import DynexitError
from dynexit.serve.settings import Settings


def get(server, path="/v1/models", **headers):
    """Status and body of a request whose headers are as they are."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


LOCAL = ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.3.2.1", "[::1]:8000", "page.localhost")
FOREIGN = (
    *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("192.168.1.4", "[::2]", "[", "", "localhost@evil.example.", "x\xe4"),
)


@pytest.fixture(scope="module")
def named(serving):
    with serving(hosts=("model.example",)) as server:
        yield server


@pytest.mark.parametrize("host", [*LOCAL, "model.example", "Model.Example:99"])
def test_its_own_names_are_known(named, host):
    assert get(named, host=host)[0] == 200


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/nothing"])
@pytest.mark.parametrize("host", FOREIGN)
def test_other_names_are_refused(named, host, path):
    status, told = get(named, path, host=host)
    assert status == 403, told
    assert "this server is not" in told
    assert "--allowed-host" in told


def test_a_server_on_all_addresses_knows_any(serving):
    with serving(hosts=("0.0.0.0",)) as server:
        assert get(server, host="192.168.1.4:8000")[0] == 200
        assert get(server, host="[fd00::2]")[0] == 200
        assert get(server, host="evil.example")[0] == 403


def test_with_a_key_any_name_will_do(serving):
    with serving(api_key="söcret") as server:
        for key, status in (("söcret", 200), ("söcreT", 401), ("s\xc3\xb6cret", 401), ("", 401)):
            headers = {"host": "evil.example", "authorization": f"Bearer {key}".encode()}
            assert get(server, **headers)[0] == status, key


@pytest.mark.parametrize("key", ["", " x", "x\n", "x\ty", "\udcff"])
def test_a_key_that_no_header_carries_is_refused(key):
    with pytest.raises(DynexitError, match="the API key"):
        Settings(api_key=key)
