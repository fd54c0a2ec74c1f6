# SPDX-License-Identifier: Apache-2.0
"""HTTP over a unix socket, with nothing but the standard library: what any client could do."""

import http.client
import json
import socket


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    def __init__(self, status, body, headers=None):
        self.status, self.body, self.headers = status, body, headers

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body.decode(errors='replace').strip()[:2000]}"


class Refused(AssertionError):
    """The API answered with an error."""

    def __init__(self, reply):
        super().__init__(f"the API answered {reply!r}")
        self.reply = reply
        self.code = reply.json.get("code")
        self.details = reply.json.get("details", {})


class Result:
    """A command that has ended."""

    def __init__(self, fields):
        self.fields = fields
        self.id, self.exit, self.signal = fields["id"], fields["exitCode"], fields["signal"]
        self.timed_out, self.out, self.err = fields["timedOut"], fields["stdout"], fields["stderr"]

    def __repr__(self):
        status = self.signal or f"exit {self.exit}"
        return f"{status}, stdout {self.out[:1000]!r}, stderr {self.err[:1000]!r}"


class Client:
    def __init__(self, path, timeout=600):
        self.path, self.timeout = path, timeout

    def request(self, method, path, body=None, headers=None, timeout=None):
        """body: bytes as they are, anything else as JSON."""
        connection = Connection(self.path, timeout or self.timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            try:
                connection.request(method, path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # answered before everything was sent: what it said is still to be read
            response = connection.getresponse()
            return Reply(response.status, response.read(), response.headers)
        finally:
            connection.close()

    def get(self, path):
        reply = self.request("GET", path)
        if reply.status != 200:
            raise Refused(reply)
        return reply.json

    def exec(self, *argv, timeout=None, **fields):
        """Runs a command to its end. Raises Refused when it cannot be started."""
        reply = self.request("POST", "/v1/exec", {"argv": list(argv), **fields}, timeout=timeout)
        if reply.status != 200:
            raise Refused(reply)
        return Result(reply.json)

    def start(self, *argv, **fields):
        """Starts a command and returns its id."""
        reply = self.request("POST", "/v1/exec", {"argv": list(argv), "wait": False, **fields})
        if reply.status not in (200, 202):
            raise Refused(reply)
        return reply.json["id"]

    def stream(self, *argv, **fields):
        """The events of a command, as they arrive."""
        connection = Connection(self.path, self.timeout)
        try:
            connection.request("POST", "/v1/exec", body=json.dumps({"argv": list(argv), **fields}).encode(),
                               headers={"Content-Type": "application/json", "Accept": "application/x-ndjson"})
            response = connection.getresponse()
            if response.status != 200:
                raise Refused(Reply(response.status, response.read()))
            for line in response:
                yield json.loads(line)
        finally:
            connection.close()

    def process(self, identifier):
        return self.get(f"/v1/processes/{identifier}")

    def kill(self, identifier):
        return self.request("DELETE", f"/v1/processes/{identifier}")
