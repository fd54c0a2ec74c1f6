# SPDX-License-Identifier: Apache-2.0
"""A dev server with asyncio: started, waited for, asked by another command of its context, ended, started again.
usage: python3 server.py [PORT]"""

import asyncio
import os
import sys

from moat_client import AsyncMoat

ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).status)"


async def start(context, port):
    """The port is no secret: not isolated, so that later commands see the server."""
    server = await context.start_process('python3 -u -m http.server --bind 127.0.0.1 "$PORT"', env={"PORT": port}, isolated=False)
    await server.wait_for_port(int(port), timeout=60)
    return server


async def main(port):
    context = await AsyncMoat().create_context(f"dev-{os.getpid()}", directory="/tmp")
    try:
        server = await start(context, port)
        answer = await context.exec(["python3", "-c", ASK, f"http://127.0.0.1:{port}/"])
        print(f"asked by a command of its context: {answer.stdout.strip()}")
        await server.signal("TERM")
        print(f"ended by {(await server.wait()).signal}")
        server = await start(context, port)
        print("up again")
        await server.kill()
        print(f"killed: {(await server.wait()).signal}")
    finally:
        await context.remove()


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "3000"))
