#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""server.ts for where Bun is not installed."""

import http.server
import json
import os
import time

STARTED = time.monotonic()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = b"control plane\n"
        if self.path == "/health":
            text = json.dumps({"ok": True, "pid": os.getpid(), "upMs": int((time.monotonic() - STARTED) * 1000)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
