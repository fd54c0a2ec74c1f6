# SPDX-License-Identifier: Apache-2.0
"""
What moat must not disturb: everything here is legitimate and has to succeed as user code, with every capability and with the
default set, in a PID namespace of its own and in the control plane's.
"""

from lib import kernels, places
from lib.session import SPARE_PORT
from lib.tap import test
from tools import legitimate

CONTEXTS = ("default", "modest", "full", "shared")
EVERY_CAPABILITY = ("full", "shared")
FOR_SLOW = ("default", "shared")  # what takes long in an emulated machine: from the least to the most that user code may


# The small ones: one exec for each context runs all (tools/legitimate.py).

def answers(session):
    if "legitimate" not in session.memory:
        found = {}
        for context in CONTEXTS if session.whole and session.vm in (None, *kernels.OLDEST) else FOR_SLOW:
            names = [name for name in legitimate.operations if context in EVERY_CAPABILITY or name not in legitimate.with_sys_admin]
            result = session.exec(places.PYTHON, legitimate.__file__, "--port", str(SPARE_PORT), *names, context=context,
                                  timeout=200 * session.patience)
            found[context] = (names, dict(line.split(" ", 1) for line in result.out.splitlines() if " " in line), result)
        session.memory["legitimate"] = found
    return session.memory["legitimate"]


def check_operation(name, function):
    @test(f"user code {function.__doc__}", needs=("moat",), timeout=300)
    def succeeds(session):
        wrong = []
        for context, (names, said, result) in answers(session).items():
            if name in names and said.get(name) != "ok":
                wrong.append(f"{context}: {said.get(name, f'no answer: {result}')}")
        assert not wrong, "\n".join(wrong)


for _name, _function in legitimate.operations.items():
    check_operation(_name, _function)


# The programs that people use, each in a directory of its own.

def check_program(claim, which, script, timeout=60):
    @test(f"user code {claim}", needs=("moat",), timeout=len(which) * timeout)
    def program(session):
        for context in which:
            setup = "dir=$(mktemp -d); trap 'rm -rf $dir' EXIT; cd $dir; export HOME=$dir\n"
            result = session.exec("/bin/sh", "-euc", setup + script, context=context, timeout=timeout * session.patience)
            assert result.exit == 0, (context, result)


check_program("finds its own processes with ps, top, pgrep and pidof, and ends them with pkill", CONTEXTS, """
sleep 86460 & one=$!
ps aux | grep -q '[s]leep 86460'
ps -o pid=,ppid=,args= -p $one | grep -q sleep
top -b -n 1 | grep -q sleep
pgrep -f '^sleep 86460$' | grep -qx $one
pidof sleep | grep -qw $one
pkill -TERM -f '^sleep 86460$'
wait $one || [ $? = 143 ]
""")

check_program("controls jobs in a shell without a terminal", CONTEXTS, """
sleep 86461 & one=$!
sleep 86461 & two=$!
kill $one; wait $one || [ $? = 143 ]
kill -STOP $two; kill -CONT $two; kill -KILL $two; wait $two || [ $? = 137 ]
(exit 3) & wait $! || [ $? = 3 ]
timeout -s KILL 0.1 sleep 86461 || [ $? = 137 ]
setsid sh -c 'trap "exit 0" TERM; sleep 86461 & kill -TERM 0; wait'
""")

check_program("controls jobs in an interactive shell on a terminal", CONTEXTS, """
cat > drive.py <<'END'
import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execlp("bash", "bash", "--norc", "-i")
os.write(terminal, b"PS1='ready> '; sleep 86462 &\\njobs; fg %1\\n")
seen = b""
while os.tcgetpgrp(terminal) in (0, pid):  # bash has not brought it to the foreground yet
    time.sleep(0.05)
os.write(terminal, b"\\x1a")       # suspend it
while b"Stopped" not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, b"bg; kill %1; wait\\n")
while b"Terminated" not in seen:   # bash says it before a prompt, of which there are several
    seen += os.read(terminal, 4096)
    if seen.endswith(b"ready> "):
        os.write(terminal, b"\\n")
os.write(terminal, b"exit 5\\n")
try:
    while True:
        more = os.read(terminal, 4096)
        if not more:
            break
        seen += more
except OSError:
    pass
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(f"bash ended with {status}: {seen}" if status != 5 or b"Terminated" not in seen else 0)
END
timeout 170 /usr/bin/python3 drive.py
""")

check_program("records a session with script(1)", CONTEXTS, "script -qec 'tty; echo $((6 * 7))' out </dev/null >/dev/null; grep -q 42 out")

check_program("traces its own child with strace, by starting it and by attaching to it", CONTEXTS, """
strace -f -o out sh -c 'true; /bin/true'
grep -q execve out
sleep 86463 & one=$!
strace -o out -p $one & tracer=$!
until grep -q 'nanosleep\\|restart_syscall' out 2>/dev/null; do kill -0 $tracer; sleep 0.1; done
kill $tracer; wait $tracer || true
kill -0 $one; kill $one
""")

check_program("attaches gdb to its own child and looks into it", FOR_SLOW, """
sleep 86464 & one=$!
gdb -nx -batch -ex 'info registers rip' -p $one > out 2>&1
kill -0 $one; kill $one
grep -q '^rip' out
""", 90)

check_program("runs bubblewrap inside", CONTEXTS, """
bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --tmpfs /tmp sh -c 'echo inside $$ > /tmp/x; cat /tmp/x' | grep -q '^inside '
""")

check_program("nests user, PID and mount namespaces with unshare(1)", CONTEXTS, """
unshare -U -r -p -f -m sh -c 'mount -t tmpfs none /mnt; echo $$ > /mnt/pid; cat /mnt/pid' | grep -qx 1
""")

check_program("serves HTTP on a free port and fetches from it with curl", FOR_SLOW, """
echo hello > file
/usr/bin/python3 -u -m http.server -b 127.0.0.1 0 > out 2>&1 & one=$!
until port=$(sed -n 's/.*port \\([0-9]*\\).*/\\1/p' out) && [ -n "$port" ]; do sleep 0.1; done
curl -sf http://127.0.0.1:$port/file | grep -qx hello
kill $one
""")

check_program("builds a project of C with make -j4", FOR_SLOW, """
for n in 1 2 3 4; do echo "int f$n(void) { return $n; }" > f$n.c; done
echo 'int f1(void), f2(void), f3(void), f4(void); int main(void) { return f1() + f2() + f3() + f4() - 10; }' > main.c
printf 'OBJ = main.o f1.o f2.o f3.o f4.o\\nprogram: $(OBJ)\\n\\tgcc -o $@ $(OBJ)\\n%%.o: %%.c\\n\\tgcc -c -o $@ $<\\n' > Makefile
make -s -j4
./program
""", 90)

check_program("keeps a repository with git", CONTEXTS, """
git init -q .
echo text > file; git add file
git -c user.name=n -c user.email=e@example.org commit -qm first
git log --oneline | grep -q first
git clone -q . copy && test -f copy/file
""")

check_program("packs and unpacks with tar, as another owner", CONTEXTS, """
mkdir d; echo text > d/file; chown 1000:1000 d/file; ln -s file d/link
tar czf d.tar.gz d; mv d old; tar xzf d.tar.gz
test "$(stat -c %u d/file)" = 1000; diff -r d old
""")

check_program("makes a virtual environment and installs a package of its own with pip", ("default",), """
/usr/bin/python3 - <<'END'
import zipfile
with zipfile.ZipFile("greeting-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("greeting.py", "def greet():\\n    print('hello from the package')\\n")
    wheel.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n")
    wheel.writestr("greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("greeting-1.0.dist-info/entry_points.txt", "[console_scripts]\\ngreet = greeting:greet\\n")
    wheel.writestr("greeting-1.0.dist-info/RECORD", "")
END
/usr/bin/python3 -m venv --without-pip env
/usr/bin/python3 -m pip --python env/bin/python install -q --no-index --no-cache-dir --disable-pip-version-check ./greeting-1.0-py3-none-any.whl
env/bin/greet | grep -qx 'hello from the package'
""", 120)

check_program("installs a package of its own with npm", ("shared",), """
mkdir package project
echo '{"name": "greeting", "version": "1.0.0", "bin": {"greet": "greet.js"}}' > package/package.json
printf '#!/usr/bin/env node\\nconsole.log("hello from the package")\\n' > package/greet.js
tar czf greeting-1.0.0.tgz package
cd project
echo '{"name": "project", "version": "1.0.0"}' > package.json
npm install --offline --no-audit --no-fund --no-update-notifier --loglevel=error ../greeting-1.0.0.tgz
node_modules/.bin/greet | grep -qx 'hello from the package'
""", 120)
