# SPDX-License-Identifier: Apache-2.0
"""
A connection to the agent that ends too early: a socket in front of the agent's, with the agent behind it. Each connection is
passed on until the answer has so many bytes of body, and then closed; or, silent, taken and never answered.
"""

import contextlib
import os
import selectors
import socket
import threading


def pass_on(client, agent_path, after):
    """after: what the client gets to see of the answer ends behind this; None: nothing is passed on."""
    with client, socket.socket(socket.AF_UNIX) as agent, selectors.DefaultSelector() as both:
        if after is None:
            client.recv(1)
            while client.recv(65536):
                pass
            return
        agent.connect(agent_path)
        answer = b""
        both.register(client, selectors.EVENT_READ, agent)
        both.register(agent, selectors.EVENT_READ, client)
        while True:
            for key, _ in both.select():
                data = key.fileobj.recv(65536)
                if not data:
                    return
                if key.fileobj is client:
                    agent.sendall(data)
                    continue
                answer += data
                head, _, body = answer.partition(b"\r\n\r\n")
                end = after(body)
                if end is not None:
                    left = len(head) + 4 + end - (len(answer) - len(data))
                    client.sendall(data[:max(left, 0)])
                    return
                client.sendall(data)


def serve(listener, agent_path, after):
    while True:
        try:
            client = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=quietly, args=(client, agent_path, after), daemon=True).start()


def quietly(client, agent_path, after):
    with contextlib.suppress(OSError):  # the other side may go first
        pass_on(client, agent_path, after)


@contextlib.contextmanager
def socket_before(agent_path, path, after):
    """Such a socket at path. after(body): how much of the body is passed on, or None as long as all of it is."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        threading.Thread(target=serve, args=(listener, agent_path, after), daemon=True).start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            os.unlink(path)
