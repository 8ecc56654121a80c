"""What importing pushclient needs, and what it gives."""
from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

import pushclient
from pushclient import errors, options
from pushclient.websocket import tls
from pushserver.wire.disconnects import Disconnect
from pushserver.errors import InvalidSetting, PushError


def test_it_needs_no_cherrypy():
    program = ("import sys\n"
               "sys.modules['cherrypy'] = sys.modules['cheroot'] = None\n"
               "import pushclient, pushclient.__main__\n"
               "pushclient.PushClient('ws://localhost/', Id='42')\n"
               "pushclient.WebSocketClient('ws://localhost/')\n")
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_it_is_marked_as_typed_and_every_name_is_there():
    assert pathlib.Path(pushclient.__file__).with_name("py.typed").exists()
    for name in pushclient.__all__:
        assert hasattr(pushclient, name)


def test_every_error_has_the_one_root():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), PushError), name
    assert issubclass(errors.ConnectTimeout, TimeoutError)
    assert issubclass(errors.ConnectFailed, OSError)
    assert str(errors.Disconnected(Disconnect(3505, ""))) == "connection closed with 3505"
    assert errors.Disconnected(Disconnect(3505, "out")).is_final


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True])
def test_senseless_seconds_are_refused(value):
    with pytest.raises(InvalidSetting, match="timeout is"):
        options.check_seconds("timeout", value)
    assert options.check_seconds("timeout", 0, zero=True) == 0


def test_headers_are_a_mapping_or_pairs():
    assert options.header_pairs({"a": "b"}) == options.header_pairs([("a", "b")]) == [("a", "b")]
    assert options.header_pairs(None) == []


def test_unknown_ssl_options_are_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="ssl_version is unknown, use certfile"):
        tls.make_context({"ssl_version": 2})
    with pytest.raises(InvalidSetting, match="No such file"):
        tls.make_context({"certfile": str(tmp_path / "none")})
    with pytest.raises(InvalidSetting, match="ssl_options"):
        tls.make_context({"ciphers": "none such"})
    assert tls.make_context({}).check_hostname
