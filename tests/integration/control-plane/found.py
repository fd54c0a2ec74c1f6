# SPDX-License-Identifier: Apache-2.0
"""`python3 -m found`: a control plane as many are: it executes what it finds in its directory (http.py) and in its home directory."""

import http
import signal

assert http
signal.pause()
