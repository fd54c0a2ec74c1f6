# SPDX-License-Identifier: Apache-2.0
"""What make install puts there, below a directory of the session's."""

import subprocess

from lib import moatd, places

PREFIX = "/usr/local"


def root(session):
    """Below which it is; installed once."""
    if "installed" not in session.memory:
        directory = f"{session.scratch}/installed"
        # What is built is built: the tests install it and make nothing.
        done = subprocess.run(["make", "-C", places.SOURCE, "-o", "all", f"O={session.build}", f"DESTDIR={directory}", "install"], check=False,
                              capture_output=True, text=True, env=moatd.clean_environment())
        assert done.returncode == 0, done
        session.memory["installed"] = directory
    return session.memory["installed"]
