"""The commands in docs/api.md work as they stand there."""
from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

from cherrypy._cptree import Tree

from pushserver import ChannelRule, PushAPI
from pushserver.api.methods import METHODS
from tests.support.api_client import KEY
from tests.support.installed import missing
from tests.support.site import running_site

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
COMMANDS = re.findall(r"^curl .*(?:\n    .*)*", TEXT, re.MULTILINE)


def test_each_command_gives_a_result():
    shutil.which("curl") or missing("curl", "apt-get install curl")
    assert len(COMMANDS) >= 10
    tree = Tree()
    with running_site(tree, plugin={"channels": [ChannelRule("news:", history=10)]}) as site:
        tree.mount(PushAPI(site.push, keys=[KEY]), "/api")
        for command in COMMANDS:
            command = command.replace("127.0.0.1:8080", f"127.0.0.1:{site.port}")
            done = subprocess.run(["sh", "-c", command], env={**os.environ, "KEY": KEY},
                                  capture_output=True, timeout=20)
            answer = json.loads(done.stdout)
            assert "result" in answer or "replies" in answer, (command, answer)
            assert b'"error"' not in done.stdout
        assert [one.data for one in site.push.history("news:1").publications] == \
            [{"text": "hello"}, 2, "to both", 1]


def test_all_methods_are_listed():
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == set(METHODS)
