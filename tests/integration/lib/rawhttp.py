# SPDX-License-Identifier: Apache-2.0
"""HTTP as bytes, right or wrong, and whether the agent has taken harm."""

import json
import os
import socket
import time

from lib import procs


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, session, timeout=20):
        """timeout: seconds on a quiet machine, see procs.SLACK"""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout * procs.SLACK)
        while True:
            try:
                self.socket.connect(session.agent.socket)
                return
            except BlockingIOError:  # the queue of connections is full for the moment
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """What the agent does not want to have any more is not sent."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def read(self):
        """Everything up to the end of the connection."""
        parts = [b"-"]
        while parts[-1]:
            try:
                parts.append(self.socket.recv(65536))
            except ConnectionResetError:
                break
        return b"".join(parts[1:])

    def read_head(self):
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(1)
            assert part, f"the connection ended after {data!r}"
            data += part
        return data

    def read_answer(self):
        """(status, decoded body) of one answer; leaves the connection open."""
        head = self.read_head().decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = b""
        while len(body) < length:
            part = self.socket.recv(length - len(body))
            assert part, f"the connection ended after {len(body)} of {length} bytes"
            body += part
        return int(head.split()[1]), json.loads(body)


def http(method, path, body=b"", *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: moat", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def exec_body(*argv, **fields):
    return json.dumps({"argv": list(argv), **fields}).encode()


def chunked(*parts, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def descriptors(session):
    """Sockets and pipes of the agent: what belongs to clients and running commands (cgroups are kept for reuse)."""
    found = 0
    directory = f"/proc/{session.agent.pid}/fd"
    for each in os.listdir(directory):
        try:
            found += os.readlink(f"{directory}/{each}").startswith(("socket:", "pipe:"))
        except OSError:
            pass
    return found


def unharmed(session):
    """The agent still runs, answers and starts commands."""
    assert session.agent.running(), session.agent.log()[-2000:]
    assert session.api.get("/v1/health")["status"] == "ok"
    assert session.exec("/bin/echo", "alive").out == "alive\n"


def settles(session, before, seconds=20):
    """The number of descriptors goes back to what it was."""
    procs.wait_until(lambda: descriptors(session) <= before + 4, seconds, f"{before} descriptors again")
