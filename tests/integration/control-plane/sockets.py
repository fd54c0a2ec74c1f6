# SPDX-License-Identifier: Apache-2.0
"""sockets.py NAME PORT PATH: what a control plane may listen on besides: unix sockets without a file (NAME, and NAME.datagram), one
with a file at PATH, IPv6."""

import contextlib
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
named = socket.socket(socket.AF_UNIX)
with contextlib.suppress(FileNotFoundError):
    os.unlink(sys.argv[3])
named.bind(sys.argv[3])
named.listen()
with contextlib.suppress(OSError):  # not every machine has it
    loopback = socket.create_server(("::1", port), family=socket.AF_INET6)
signal.pause()
