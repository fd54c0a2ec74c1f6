# SPDX-License-Identifier: Apache-2.0
"""sockets.py NAME PORT PATH OTHER: what a control plane may listen on besides: unix sockets without a file (NAME, NAME.datagram, and
NAME.open), ones with a file at PATH and OTHER, IPv6, and ports that nobody listed, which OTHER.json tells."""

import contextlib
import json
import os
import signal
import socket
import sys

name, port = sys.argv[1], int(sys.argv[2])
stream = socket.socket(socket.AF_UNIX)
stream.bind("\0" + name)
stream.listen()
datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagram.bind(f"\0{name}.datagram")
opened = socket.socket(socket.AF_UNIX)
opened.bind(f"\0{name}.open")
opened.listen()
named = []
for path in sys.argv[3:5]:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    each = socket.socket(socket.AF_UNIX)
    each.bind(path)
    each.listen()
    named.append(each)
unlisted = {"bound": socket.socket(), "unbound": socket.socket(), "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
unlisted["bound"].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
unlisted["bound"].bind(("0.0.0.0", 0))
unlisted["bound"].listen()
unlisted["unbound"].listen()
unlisted["udp"].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
unlisted["udp"].bind(("0.0.0.0", 0))
with open(sys.argv[4] + ".json.new", "w", encoding="ascii") as file:
    json.dump({kind: each.getsockname()[1] for kind, each in unlisted.items()}, file)
os.rename(sys.argv[4] + ".json.new", sys.argv[4] + ".json")
with contextlib.suppress(OSError):  # not every machine has it
    loopback = socket.create_server(("::1", port), family=socket.AF_INET6)
signal.pause()
