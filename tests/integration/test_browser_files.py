"""The browser client as a site serves it, as the documentation says."""
from __future__ import annotations

import re
import urllib.request
from functools import partial
from pathlib import Path

import pushserver
from tests.integration.test_readme import ON_PORT, post
from tests.support.loopback import free_port
from tests.support.programs import ROOT, finish, get, program
from tests.support.raw_client import Client
from tests.support.waiting import PATIENCE

DOCUMENT = (ROOT / "docs" / "browser.md").read_text("utf-8")
TYPES = ROOT / "clients" / "browser" / "push-client.d.ts"


def test_the_example_of_the_document_runs_as_written(tmp_path):
    example = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL).group(1)
    Path(tmp_path, "site_of_readme.py").write_text(example)
    port = free_port()
    with program("-c", ON_PORT, str(port), cwd=tmp_path) as process:
        url = partial("http://127.0.0.1:{}{}".format, port)
        while "Bus STARTED" not in process.stderr.readline():
            assert process.poll() is None
        with urllib.request.urlopen(url("/push/push-client.js"), timeout=PATIENCE) as answer:
            assert "javascript" in answer.headers["Content-Type"]
            assert b"export class PushClient" in answer.read()
        assert get(url("/push/push-client.d.ts"))[0] == 200
        assert get(url("/push/../../setup.cfg"))[0] in (403, 404)
        assert b"login" in get(url("/"))[1]
        login = post(port, "/login", {"name": "ann"})
        cookie = {"Cookie": login.getheader("Set-Cookie").split(";")[0]}
        page = urllib.request.Request(url("/"), headers=cookie)
        with urllib.request.urlopen(page, timeout=PATIENCE) as answer:
            assert b"push-client.js" in answer.read()
        with Client(("127.0.0.1", port)) as client:
            client.handshake("/websocket?heartbeat=25", headers=cookie)
            get(url("/order?number=7"))
            assert [client.message() for _ in range(2)] == ["", "order 7"]
        status, _, err = finish(process)
        assert status == 0, err


def test_the_folder_has_what_the_document_names():
    for name in re.findall(r"`(push-client\.\S+?)`", DOCUMENT):
        assert (pushserver.browser_dir() / name).is_file(), name


def test_every_option_is_in_the_table():
    table = DOCUMENT.split("| option |")[1].split("\n\n")[0]
    options = TYPES.read_text("utf-8").split("interface PushClientOptions {")[1].split("\n}")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == \
        sorted(re.findall(r"^  (\w+)\?:", options, re.MULTILINE))
