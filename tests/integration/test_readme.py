"""What the README shows works as written."""
import re
from dataclasses import fields
from functools import partial
from pathlib import Path

from pushserver import Settings
from tests.support.loopback import free_port
from tests.support.programs import ROOT, finish, get, program
from tests.support.raw_client import Client

README = (ROOT / "README.md").read_text()

ORDER = '{"order":"7"}'

ON_PORT = ("import cherrypy, runpy, sys; "
           "cherrypy.config.update({'server.socket_port': int(sys.argv[1])}); "
           "runpy.run_path('site_of_readme.py', run_name='__main__')")


def example():
    """Return the embedding example: the first block of Python."""
    return re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)


def test_the_embedding_example_runs_as_written(tmp_path):
    Path(tmp_path, "site_of_readme.py").write_text(example())
    port = free_port()
    with program("-c", ON_PORT, str(port), cwd=tmp_path) as process:
        url = partial("http://127.0.0.1:{}{}".format, port)
        while "Bus STARTED" not in process.stderr.readline():
            assert process.poll() is None
        with Client(("127.0.0.1", port)) as one, Client(("127.0.0.1", port)) as other:
            one.handshake("/websocket?Id=42")
            other.handshake("/websocket?Id=43")
            assert get(url("/order?number=7")) == (200, b"done")
            assert [one.message() for _ in range(3)] == ["order 7", ORDER, b"\x01"]
            assert [other.message() for _ in range(2)] == ["order 7", b"\x01"]
            one.text("hello")
            assert other.message() == "42: hello"
        status, _, err = finish(process)
        assert status == 0, err


def test_every_setting_is_in_the_table():
    named = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert named == [item.name for item in fields(Settings)]


def test_the_two_commands_are_there_once():
    commands = re.findall(r"^    (python -m pip install .*)$", README, re.MULTILINE)
    ends = [command.rsplit("&& ")[1] for command in commands]
    assert ends == ["python -m pushserver", "python -m pytest"]
