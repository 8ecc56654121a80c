"""What the README shows works as written."""
import re
from dataclasses import fields
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from pushserver import Settings
from tests.support.loopback import free_port
from tests.support.programs import ROOT, finish, get, program
from tests.support.raw_client import Client, Refused
from tests.support.waiting import PATIENCE

README = (ROOT / "README.md").read_text()

ORDER = '{"order":"7"}'

ON_PORT = ("import cherrypy, runpy, sys; "
           "cherrypy.config.update({'server.socket_port': int(sys.argv[1])}); "
           "runpy.run_path('site_of_readme.py', run_name='__main__')")


def example():
    """Return the embedding example: the first block of Python."""
    return re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)


def post(port, path, form, headers=None):
    """Send a form; return the answer, which has been read."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", path, urlencode(form), {
        **(headers or {}), "Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def logged_in(port):
    """Log in and return the headers that show it."""
    answer = post(port, "/login", {"name": "ann", "password": "secret"})
    assert answer.status == 200
    return {"Cookie": answer.getheader("Set-Cookie").split(";")[0]}


def test_the_embedding_example_runs_as_written(tmp_path):
    Path(tmp_path, "site_of_readme.py").write_text(example())
    port = free_port()
    with program("-c", ON_PORT, str(port), cwd=tmp_path) as process:
        url = partial("http://127.0.0.1:{}{}".format, port)
        while "Bus STARTED" not in process.stderr.readline():
            assert process.poll() is None
        ann, again = logged_in(port), logged_in(port)
        with Client(("127.0.0.1", port)) as one, Client(("127.0.0.1", port)) as other:
            one.handshake("/websocket", headers=ann)
            other.handshake("/websocket", headers=again)
            assert get(url("/order?number=7")) == (200, b"done")
            for client in (one, other):
                assert [client.message() for _ in range(3)] == ["order 7", ORDER, b"\x01"]
            one.text("hello")
            assert other.message() == "ann: hello"
            post(port, "/logout", {}, ann)
            assert one.message() == "ann: hello" and one.close_code() == 3505
            other.text("still here")
            assert other.message() == "ann: still here"
        for headers in ({}, ann):
            with Client(("127.0.0.1", port)) as nobody, pytest.raises(Refused, match="401"):
                nobody.handshake("/websocket", headers=headers)
        assert post(port, "/login", {"name": "ann", "password": "guessed"}).status == 403
        status, _, err = finish(process)
        assert status == 0, err


def test_every_setting_is_in_the_table():
    named = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert named == [item.name for item in fields(Settings)]


def test_the_two_commands_are_there_once():
    commands = re.findall(r"^    (python -m pip install .*)$", README, re.MULTILINE)
    ends = [command.rsplit("&& ")[1] for command in commands]
    assert ends == ["python -m pushserver", "python -m pytest"]
