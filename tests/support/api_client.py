"""A client of the HTTP API that can send anything."""
from __future__ import annotations

import http.client
import json

KEY = "0123456789abcdef0123456789abcdef"


class Api:
    """Call one site's API, over one HTTP connection for each call.

    Args:
        port: of the site, on this machine.
        key: the API key; None: none is sent.
    """

    def __init__(self, port, key=KEY):
        self._port = port
        self._key = key

    def request(self, path, body=b"", method="POST", **headers):
        """Return the status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        shown = {} if self._key is None else {"X-API-Key": self._key}
        try:
            connection.request(method, f"/api/{path}" if path else "/api", body, {
                **shown, **{name.replace("_", "-"): value for name, value in headers.items()}})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def status(self, *args, **options):
        """Return the status and the error of an answer that is an error."""
        status, headers, body = self.request(*args, **options)
        assert headers["Content-Type"] == "application/json"
        assert b"Traceback" not in body and body.count(b"\n") == 0
        return status, json.loads(body)["error"]["message"]

    def call(self, path, **request):
        """Return a call's result, or its error."""
        status, headers, body = self.request(path, json.dumps(request))
        assert (status, headers["Content-Type"]) == (200, "application/json"), body
        answer = json.loads(body)
        return answer.get("result", answer.get("error")) if path != "batch" else answer

    def error(self, path, **request):
        """Return the code and the message of a call's error."""
        found = self.call(path, **request)
        return found["code"], found["message"]
