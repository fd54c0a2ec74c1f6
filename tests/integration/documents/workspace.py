# SPDX-License-Identifier: Apache-2.0
"""
The lines of the document on workspaces, with the Python client: workspace.py PLACE. Prints a line of JSON for each, {name, error,
seconds}. There is a directory for each thread; a thread's `execute` is exec of a context whose workspace it is.
"""

import asyncio
import json
import os
import re
import sys
import time
import traceback

from moat_client import ApiError, AsyncMoat, quote

THREADS, SKILLS = f"{sys.argv[1]}/threads", f"{sys.argv[1]}/skills"
SCRIPT = """
import os
print(f"Working directory: {os.getcwd()}")
print(f"HOME: {os.environ.get('HOME')}")

# Create a file
with open('test.txt', 'w') as f:
    f.write('Hello World!')
print("File created!")

# Verify it exists
print(f"File exists: {os.path.exists('test.txt')}")
"""
PROJECT = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "pandas-of-the-test"
version = "2.7"
[tool.setuptools]
py-modules = ["pandas_of_the_test"]
"""


class Thread:
    """As the document's sandbox: what it runs, and its files."""

    def __init__(self, context, base_path):
        self.context, self.base_path, self.files, self.execute = context, base_path, context.files, context.exec

    @classmethod
    async def make(cls, moat, name):
        base_path = f"{THREADS}/{name}"
        links = [f".solven/skills/{each} -> {SKILLS}/{each}" for each in ("system", "user")]
        return cls(await moat.create_context(f"thread-{os.getpid()}-{name}", workspace=base_path, preset=["python", "node"], link=links), base_path)


async def venv(thread):
    """One with a package that was built here."""
    await thread.files.write("src/pyproject.toml", PROJECT)
    await thread.files.write("src/pandas_of_the_test.py", "__version__ = '2.7'\n")
    build = "from setuptools import build_meta; build_meta.build_wheel('../wheels')"
    for line in ("python3 -m venv --without-pip .venv && mkdir wheels", f"( cd src && /usr/bin/python3 -c {quote(build)} )"):
        result = await thread.execute(line)
        assert result.ok, (line, result)


async def file_creation(moat):
    sandbox = await Thread.make(moat, "abc123")
    # Quoted as one word: between plain quotes those of the script would end it, in a shell as well.
    result = await sandbox.execute(f"python3 -c {quote(SCRIPT)}")
    place = sandbox.base_path
    assert result.stdout == f"Working directory: {place}\nHOME: {place}\nFile created!\nFile exists: True\n", result
    with open(f"{place}/test.txt", encoding="ascii") as file:
        assert file.read() == "Hello World!"


async def package_installation(moat):
    sandbox = await Thread.make(moat, "packages")
    await venv(sandbox)
    version = 'python -c "import pandas_of_the_test; print(pandas_of_the_test.__version__)"'
    assert not (await sandbox.execute(version)).ok
    installed = await sandbox.execute("/usr/bin/python3 -m pip --disable-pip-version-check --python .venv/bin/python "
                                      "install --no-index --no-compile --find-links wheels pandas-of-the-test")
    assert installed.ok, installed
    assert (await sandbox.execute(version)).stdout == "2.7\n"
    assert (await sandbox.execute("command -v python")).stdout == f"{sandbox.base_path}/.venv/bin/python\n"


async def multiple_threads(moat):
    sandbox1, sandbox2 = await Thread.make(moat, "one"), await Thread.make(moat, "two")
    await sandbox1.execute("echo 'Thread 1' > thread.txt")
    await sandbox2.execute("echo 'Thread 2' > thread.txt")
    result1 = await sandbox1.execute("cat thread.txt")
    result2 = await sandbox2.execute("cat thread.txt")
    assert result1.stdout == "Thread 1\n"
    assert result2.stdout == "Thread 2\n"


async def command_execution(moat):
    """The whole command as the document writes it: the environment as a string, and a script behind it."""
    sandbox = await Thread.make(moat, "abc124")
    base = f"{sandbox.base_path}/"
    await sandbox.execute("python3 -m venv --without-pip .venv")
    await sandbox.files.write("script.py", "import os, sys\nprint(sys.prefix, os.getcwd())\n"
                              "print(*(os.environ[each] for each in ('PYTHONUNBUFFERED', 'MPLBACKEND', 'HOME', 'VIRTUAL_ENV')))\n")
    result = await sandbox.execute(
        f"cd {base} && export PYTHONUNBUFFERED=1 && export PYTHONDONTWRITEBYTECODE=1 && export MPLBACKEND=Agg && export HOME={base} && "
        f"export PWD={base} && export PATH={base}.venv/bin:{base}node_modules/.bin:$PATH && source .venv/bin/activate && python script.py")
    assert result.stdout == f"{base}.venv {base[:-1]}\n1 Agg {base} {base}.venv\n", result


async def file_operations(moat):
    sandbox = await Thread.make(moat, "abc125")
    await sandbox.files.write(f"{sandbox.base_path}/file.txt", "content")
    assert await sandbox.files.read(f"{sandbox.base_path}/file.txt") == "content"
    assert {each["path"] for each in (await sandbox.files.list(f"{sandbox.base_path}")).entries} == {".solven", "file.txt"}
    assert await sandbox.files.exists(f"{sandbox.base_path}/file.txt")
    assert not await sandbox.files.exists(f"{sandbox.base_path}/other.txt")


async def troubleshooting(moat):
    sandbox = await Thread.make(moat, "abc126")
    assert (await sandbox.execute("pwd")).stdout == f"{sandbox.base_path}\n"
    assert (await sandbox.execute("touch test.txt && ls -la test.txt")).stdout.endswith(" test.txt\n")
    assert (await sandbox.execute("ls nothing; echo $?")).stdout == "2\n"
    variables = (await sandbox.execute("printenv | grep -E 'HOME|PWD|PATH|PYTHON'")).stdout
    assert f"HOME={sandbox.base_path}\n" in variables and f"PWD={sandbox.base_path}\n" in variables, variables
    assert re.search(rf"^PATH={sandbox.base_path}/\.venv/bin:{sandbox.base_path}/node_modules/\.bin:/", variables, re.M), variables
    assert (await sandbox.execute("echo $PYTHONUNBUFFERED $PYTHONDONTWRITEBYTECODE $MPLBACKEND")).stdout == "1 1 Agg\n"


async def structure(moat):
    """The skills are everybody's, by links: read by commands and over the API, and not written there."""
    for each in ("system", "user"):
        os.makedirs(f"{SKILLS}/{each}", exist_ok=True)
        with open(f"{SKILLS}/{each}/skill.md", "w", encoding="ascii") as file:
            file.write(f"{each}\n")
    sandbox = await Thread.make(moat, "abc127")
    assert (await sandbox.execute("cat .solven/skills/system/skill.md .solven/skills/user/skill.md")).stdout == "system\nuser\n"
    assert [each["path"] for each in (await sandbox.files.list(".solven/skills/system")).entries] == ["skill.md"]
    assert await sandbox.files.read(f"{SKILLS}/user/skill.md") == "user\n"
    try:
        await sandbox.files.write(".solven/skills/user/skill.md", "mine\n")
    except ApiError as error:
        assert error.code == "READ_ONLY", error
    else:
        raise AssertionError("it was written")


LINES = {"1 file creation": file_creation, "2 package installation": package_installation, "3 multiple threads": multiple_threads,
         "command execution": command_execution, "file operations": file_operations, "troubleshooting": troubleshooting,
         "directory structure": structure}


async def main():
    moat = AsyncMoat()
    for name, line in LINES.items():
        begin, error = time.monotonic(), None
        try:
            await line(moat)
        except Exception:  # pylint: disable=broad-except
            error = traceback.format_exc()
        print(json.dumps({"name": f"003 {name}", "error": error, "seconds": time.monotonic() - begin}), flush=True)
    for each in await moat.contexts():
        if each["name"].startswith(f"thread-{os.getpid()}-"):
            await moat.context(each["name"]).remove()


asyncio.run(main())
