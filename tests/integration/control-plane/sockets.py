# SPDX-License-Identifier: Apache-2.0
"""sockets.py NAME PORT: what a control plane may listen on besides: unix sockets without a file (NAME, and NAME.datagram), IPv6."""

import contextlib
import signal
import socket
import sys

name, port = sys.argv[1], int(sys.argv[2])
stream = socket.socket(socket.AF_UNIX)
stream.bind("\0" + name)
stream.listen()
datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
datagram.bind(f"\0{name}.datagram")
with contextlib.suppress(OSError):  # not every machine has it
    loopback = socket.create_server(("::1", port), family=socket.AF_INET6)
signal.pause()
