"""The CherryPy tool that turns a page handler into a WebSocket address."""
from __future__ import annotations

from typing import Any, Collection, Sequence

import cherrypy
from ws4py.websocket import WebSocket

from ..centrifuge import CentrifugeConnection
from ..channels.rules import checked_channel
from ..connections.connection import Connection, checked_frequency
from ..errors import InvalidSetting
from ..server import PushServer, acceptor_of
from ..wire.handshake import asks_to_connect, is_subprotocol
from .endpoint import Endpoint
from .plugin import subscribed_to
from .refusals import RefusalLog

_ARGUMENTS = ("handler_cls", "channels", "subprotocols", "protocol", "optional", "trust_id",
              "heartbeat_freq")

_HINT = ", or import WebSocket from pushserver.ws4py"

PAGE_TOOLS = ("accept", "autovary", "caching", "encode", "etags", "gzip", "json_out",
              "trailing_slash")
"""CherryPy's tools that make a page of what a handler returns, or answer in its place."""

PROTOCOLS: dict[str, type[Connection]] = {"plain": Connection, "centrifuge": CentrifugeConnection}
"""The protocols that a connection can speak, with the base class for each."""


class PushTool(cherrypy.Tool):  # type: ignore[misc]
    """Turn a page handler into a WebSocket address: ``cherrypy.tools.push = PushTool(push)``.

    The handler runs before the upgrade and may refuse it by raising ``HTTPError`` or
    ``HTTPRedirect``, as may any tool of the site; its return value is ignored. It says who the
    client is in ``cherrypy.request.push_id``, and finds the connection to come in
    ``cherrypy.request.ws_handler``, with the dict ``cherrypy.request.push_data`` as its ``data``.

    Args:
        push: the plugin, or a ``PushServer``, that serves the connections; None: the plugin that is
            subscribed to ``cherrypy.engine``, which may be made later.
    """

    def __init__(self, push: PushServer | None = None) -> None:
        self._push = push
        self._log = RefusalLog()
        super().__init__("before_request_body", self._options)

    @staticmethod
    def _options(handler_cls: type[Connection] | None = None, channels: Collection[str] = (),
                 subprotocols: Sequence[str] = (), protocol: str = "plain",
                 optional: bool = False, trust_id: bool = False,
                 heartbeat_freq: float | None = None) -> None:
        """Show CherryPy the tool's options."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return a decorator that enables the tool for one page handler.

        Args:
            protocol: "plain", in which a publication is sent as it is, or "centrifuge",
                Centrifugo's JSON protocol.
            handler_cls: the class of each connection: a subclass of ``Connection``, or of
                ``CentrifugeConnection`` for that protocol.
            channels: names of the channels that each connection is in from the start.
            subprotocols: those that the site speaks; the first of the client's is chosen.
            optional: a request that is not for a WebSocket gets what the page handler returns,
                as without the tool; otherwise it is answered with 426.
            trust_id: let clients name themselves by ``?Id=``, whether the page handler looks at
                it or not, and even if the site takes tokens.
            heartbeat_freq: seconds between pings, as the attribute of ``Connection``.

        Raises:
            InvalidSetting: an option has an invalid value.
        """
        check_options(**self._own(kwargs))
        return super().__call__(*args, **kwargs)

    def _setup(self) -> None:
        options = self._own(self._merged_args())
        options.pop("priority", None)
        check_options(**options)
        request = cherrypy.serving.request
        if options.pop("optional", False) and not asks_to_connect(request.headers):
            request.push_data = {}  # so that the handler can fill it in either case
            return
        switch_off_page_tools()
        protocol = options.pop("protocol", "plain")
        options.setdefault("handler_cls", PROTOCOLS[protocol])
        request.show_tracebacks = False
        acceptor = acceptor_of(self._push or subscribed())
        Endpoint(acceptor, log=self._log, **options).attach(cherrypy.serving.request.hooks)

    def _own(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options as this class names them. For subclasses that name them otherwise."""
        return options


def subscribed() -> PushServer:
    """Return the only push plugin that is subscribed to ``cherrypy.engine``.

    Raises:
        InvalidSetting: there is none, or there are several.
    """
    found = subscribed_to(cherrypy.engine)
    if len(found) != 1:
        raise InvalidSetting("PushTool() finds " + (
            "several push plugins: make each tool with its own, PushTool(push)" if found else
            "no push plugin: call PushPlugin(cherrypy.engine).subscribe()"))
    return found[0]


def switch_off_page_tools() -> None:
    """Keep them from the current request; they may or may not have been set up for it yet."""
    request = cherrypy.serving.request
    chosen = request.toolmaps.get("tools", {})
    callbacks = []
    for name in PAGE_TOOLS:
        if name in chosen:
            chosen[name]["on"] = False
            tool = getattr(cherrypy.tools, name)
            callbacks.append(getattr(tool, "_wrapper", tool.callable))
    for hooks in request.hooks.values():
        hooks[:] = [hook for hook in hooks if hook.callback not in callbacks]


def _is_ws4pys(handler_cls: object) -> bool:
    return isinstance(handler_cls, type) and issubclass(handler_cls, WebSocket)


def check_options(**options: Any) -> None:
    """Check the tool's options early, where the site's author can see an error.

    Raises:
        InvalidSetting: an option is unknown, or has an invalid value.
    """
    unknown = sorted(set(options) - {*_ARGUMENTS, "on", "priority"})
    if unknown:
        raise InvalidSetting(f"the push tool has no option {unknown[0]!r}: use "
                             f"{', '.join(_ARGUMENTS)}")
    protocol = options.get("protocol", "plain")
    if protocol not in PROTOCOLS:
        raise InvalidSetting(f"protocol is {protocol!r}: use {' or '.join(PROTOCOLS)}")
    base = PROTOCOLS[protocol]
    handler_cls = options.get("handler_cls", base)
    if not (isinstance(handler_cls, type) and issubclass(handler_cls, base)):
        raise InvalidSetting(f"handler_cls is {handler_cls!r}: use a subclass of "
                             f"pushserver.{base.__name__}" + _HINT * _is_ws4pys(handler_cls))
    if protocol == "plain" and issubclass(handler_cls, CentrifugeConnection):
        raise InvalidSetting(f"handler_cls is {handler_cls!r}: also pass protocol=\"centrifuge\"")
    for name in ("channels", "subprotocols"):
        value = options.get(name, ())
        if isinstance(value, str) or not isinstance(value, Collection):
            raise InvalidSetting(f"{name} is {value!r}: use a list, [{value!r}]")
    for channel in options.get("channels", ()):
        checked_channel(channel)
    for name in options.get("subprotocols", ()):
        if not is_subprotocol(name):
            raise InvalidSetting(f"subprotocol is {name!r}: use letters, digits and "
                                 "!#$%&'*+-.^_`|~")
    for name in ("optional", "trust_id"):
        if not isinstance(options.get(name, False), bool):
            raise InvalidSetting(f"{name} is {options[name]!r}: use True or False")
    checked_frequency(options.get("heartbeat_freq"))


if not hasattr(cherrypy.tools, "push"):
    cherrypy.tools.push = PushTool()    # for modules that use it before the site has made its own
