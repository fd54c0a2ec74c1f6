# SPDX-License-Identifier: Apache-2.0
"""What make install puts there, used as those do who have nothing else: programs that are built against libmoat."""

import json
import os
import re
import subprocess

from lib import installed, moatd, places
from lib.tap import test

SOURCE = places.SOURCE


def example():
    """That of libmoat(3), as a reader sees it."""
    with open(f"{SOURCE}/userspace/man/libmoat.3", encoding="utf-8") as file:
        (text,) = re.findall(r"^\.Bd -literal\n(#include.*?)^\.Ed$", file.read(), re.M | re.S)
    return text.replace(r"\e", "\\")


def build(session, compiler, flags):
    root = installed.root(session)
    environment = moatd.clean_environment(PKG_CONFIG_LIBDIR=f"{root}{installed.PREFIX}/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=root)
    program, source = f"{session.scratch}/example-{compiler}", f"{session.scratch}/example.{'c' if compiler == 'cc' else 'cc'}"
    with open(source, "w", encoding="utf-8") as file:
        file.write(example())
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "libmoat"], check=True, capture_output=True, text=True, env=environment).stdout.split()
    assert found == [f"-I{root}{installed.PREFIX}/include", f"-L{root}{installed.PREFIX}/lib", "-lmoat"], found
    done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", source, *found, "-o", program], check=False, capture_output=True,
                          text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return program


@test("the example of libmoat(3) is built against the installed files, as C and as C++, and does what it says", needs=("moat",), timeout=60)
def built(session):
    assert 25 < len(example().splitlines()) < 40
    for compiler, flags in (("cc", ["-std=c99"]), ("c++", ["-std=c++11"])):
        program = build(session, compiler, flags)
        done = subprocess.run([program], check=False, capture_output=True, text=True, env=moatd.clean_environment(MOAT_SOCKET=session.agent.socket))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and [each["type"] for each in lines] == ["start", "stdout", "exit"] and lines[1]["data"] == "HELLO\n", done
        done = subprocess.run([program], check=False, capture_output=True, text=True, env=moatd.clean_environment(MOAT_SOCKET="/run/no-such-socket"))
        assert (done.returncode, done.stderr) == (1, "moatd: No such file or directory\n"), done


@test("of libmoat a program sees what moat.h declares, and nothing else")
def symbols(session):
    with open(f"{SOURCE}/include/moat/moat.h", encoding="utf-8") as file:
        declared = re.findall(r"^(?:int|void|const char \*) ?(moat_\w+)\(", file.read(), re.M)
    listed = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", f"{session.build}/libmoat.a"], check=True, capture_output=True,
                            text=True).stdout
    assert sorted(re.findall(r"^(\w+) \w ", listed, re.M)) == sorted(declared), listed
    with open(f"{SOURCE}/userspace/man/libmoat.3", encoding="utf-8") as file:
        assert sorted(re.findall(r"^\.Fn (\w+) \"", file.read(), re.M)) == sorted(declared)


@test("the command line speaks to the agent by libmoat alone: it makes no socket and connects none")
def command_line(session):
    folder = f"{session.build}/userspace/cli"
    objects = [f"{folder}/{name}" for name in os.listdir(folder) if name.endswith(".o")]
    wanted = subprocess.run(["nm", "--undefined-only", "--format=posix", *objects], check=True, capture_output=True, text=True).stdout.split()
    assert "moat_connect" in wanted and not {"socket", "connect", "sendmsg", "sendto", "recvmsg", "recv"} & {*wanted}
