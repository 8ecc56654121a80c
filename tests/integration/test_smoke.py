from tests.support import running_site, Refused
import pytest


def test_echo_and_push():
    with running_site() as site:
        with site.client("/echo?Id=1") as client:
            client.text("hello")
            assert client.message() == "hello"
            site.push.broadcast({"a": 1})
            assert client.message() == '{"a":1}'
            assert client.hang_up() == 1000
            assert client.at_end()


def test_no_id():
    with running_site() as site:
        with pytest.raises(Refused) as refused:
            site.client("/websocket")
        assert refused.value.status == 400
