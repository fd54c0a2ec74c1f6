# SPDX-License-Identifier: Apache-2.0
"""Where things are: the source, the build, the real programs that stand for a control plane."""

import importlib.util
import os
import re
import shutil

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.dirname(os.path.dirname(HERE))
CONTROL_PLANE = os.path.join(HERE, "control-plane")
PYTHON = "/usr/bin/python3"
JUPYTER = "/usr/bin/jupyter-server"


def build_dir(given):
    return os.path.abspath(given or os.environ.get("MOAT_BUILD") or os.path.join(SOURCE, "build"))


def attempt(build):
    return os.path.join(build, "tests/integration/tools/attempt")


def hog(build):
    return os.path.join(build, "tests/integration/tools/hog")


def bun(build):
    """Bun's own binary, without Node in front of it; None when it is not installed."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for directory in (os.environ.get("MOAT_NODE_MODULES"), os.path.join(cache, "moat/node/node_modules"),
                      os.path.join(build, "node_modules")):
        for name in ("bun.exe", "bun"):
            path = os.path.join(directory or "/nonexistent", "bun/bin", name)
            if os.access(path, os.X_OK):
                return os.path.realpath(path)
    return shutil.which("bun")


def unpacked(program):
    """Of a package that is unpacked for the tests and not installed; None when it is not there."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(os.environ.get("MOAT_UNPACKED") or os.path.join(cache, "moat/unpacked"), program)
    return path if os.access(path, os.X_OK) else None


def jupyter():
    return JUPYTER if os.access(JUPYTER, os.X_OK) else None


def ipykernel():
    return importlib.util.find_spec("ipykernel") is not None


def hooks(kind="LSM"):
    """Those of the LSM, or of cgroups ("CGROUP"), in the order of the counters, as (name, surface, errno): from the header that the
    programs use."""
    with open(os.path.join(SOURCE, "include/moat/abi.h"), encoding="utf-8") as file:
        body = re.search(rf"#define MOAT_{kind}_HOOKS\(X\)(.*?)\n\n", file.read(), re.S)[1]
    return re.findall(r'X\((\w+), "(\w+)", (\w+)\)', body)
