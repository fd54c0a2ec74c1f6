# SPDX-License-Identifier: Apache-2.0
"""A terminal: what is typed here goes to a shell in a context, and what that writes comes here, byte for byte. A terminal in a browser
does the same with a socket in the place of this one. usage: python3 terminal.py [COMMAND [ARGUMENT...]]"""

import os
import signal
import sys
import termios
import threading
import tty

from moat_client import ApiError, Moat


def size():
    cols, rows = os.get_terminal_size()
    return rows or 24, cols or 80  # 0: a terminal that knows none, as a serial line


def forward(shell):
    while data := os.read(0, 65536):
        try:
            shell.write(data)
        except ApiError:  # what is typed when it has just ended goes nowhere
            return


def run(context, argv):
    rows, cols = size()
    shell = context.start_process(argv, tty=True, rows=rows, cols=cols, max_output=0, on_output=lambda _stream, _text, data: os.write(1, data))
    signal.signal(signal.SIGWINCH, lambda *_: shell.resize(*size()))
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # each key is the shell's, Ctrl-C as well
    try:
        threading.Thread(target=forward, args=(shell,), daemon=True).start()
        return shell.wait().exit_code
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def main():
    if not (os.isatty(0) and os.isatty(1)):
        raise SystemExit("terminal.py wants a terminal")
    context = Moat().create_context(f"terminal-{os.getpid()}", directory="/tmp")
    try:
        return run(context, sys.argv[1:] or ["bash"])
    finally:
        context.remove()


sys.exit(main())
