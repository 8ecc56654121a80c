"""The tool's options: a slip is told where the site's author can see it."""
from __future__ import annotations

import pytest
from cherrypy._cptools import Toolbox

from pushserver.connections.connection import Connection
from pushserver.errors import InvalidSetting
from pushserver.server import PushServer
from pushserver.web.tool import PushTool, check_options


class Chat(Connection):
    """Some handler."""


@pytest.fixture
def tool():
    """A tool with the name that it has been given on a toolbox."""
    box = Toolbox("tools")
    box.push = PushTool(PushServer())
    return box.push


@pytest.mark.parametrize("options", [
    {}, {"handler_cls": Chat}, {"channels": ["a"]}, {"channels": ("a", "b")}, {"channels": {"a"}},
    {"subprotocols": ["chat"]}, {"on": True}, {"priority": 5}, {"channels": []},
    {"optional": True}, {"optional": False}])
def test_options_that_can_work_are_taken(tool, options):
    check_options(**options)

    @tool(**options)
    def page():
        """Some page."""

    assert page._cp_config["tools.push.on"] is True


def test_a_tool_has_the_name_under_which_a_site_puts_it():
    box = Toolbox("tools")
    box.chat = PushTool(PushServer())

    @box.chat()
    def page():
        """Some page."""

    assert page._cp_config == {"tools.chat.on": True}


@pytest.mark.parametrize("options, word", [
    ({"handler": Chat}, "no option 'handler': use handler_cls"),
    ({"handler_cls": object}, "subclass of pushserver.Connection"),
    ({"handler_cls": "Chat"}, "subclass of pushserver.Connection"),
    ({"handler_cls": None}, "subclass of pushserver.Connection"),
    ({"channels": "news"}, r"use a list, \['news'\]"),
    ({"subprotocols": "chat"}, r"use a list, \['chat'\]"),
    ({"channels": 5}, "use a list"), ({"channels": None}, "use a list"),
    ({"channels": (name for name in "ab")}, "use a list"),
    ({"subprotocols": None}, "use a list"), ({"subprotocols": ["chat room"]}, "use letters"),
    ({"subprotocols": ["chat, news"]}, "use letters"), ({"subprotocols": [""]}, "use letters"),
    ({"subprotocols": [b"chat"]}, "use letters"), ({"subprotocols": ["caf\xe9"]}, "use letters"),
    ({"channels": [""]}, "channel is ''"), ({"channels": [5]}, "channel is 5"),
    ({"channels": ["x" * 256]}, "1 to 255"),
    ({"optional": "yes"}, "optional is 'yes': use True or False"),
    ({"optional": None}, "use True or False")])
def test_options_that_cannot_work_are_refused_by_name(tool, options, word):
    for use in (check_options, tool):
        with pytest.raises(InvalidSetting, match=word):
            use(**options)


def test_options_go_by_keyword_only(tool):
    with pytest.raises(TypeError):
        tool(Chat)
