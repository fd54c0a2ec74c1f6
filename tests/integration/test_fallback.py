# SPDX-License-Identifier: Apache-2.0
"""Strings that go beyond the language, given to a shell where a context or a request asks for it."""

import os

from lib.tap import test
from test_cli_exec import start_cli
from test_context_life import call, made, place, refused
from test_state import EMPTY, fresh, run, state

LOOP = "for each in a b; do printf '%s' $each; done; echo"


@test("what the language refuses, or reads as text, is for a shell only where that is asked for, and the answer says which", needs=("moat",))
def asked(session):
    with fresh(session, "strict"), made(session, "lenient", shell="fallback"):
        assert run(session, LOOP, 400, context="strict")["details"]["construct"] == "loop"
        assert run(session, LOOP, 400, context="lenient", shell="never")["details"]["construct"] == "loop"
        for fields in ({"context": "lenient"}, {"context": "strict", "shell": "fallback"}):
            result = run(session, LOOP, **fields)
            assert (result["stdout"], result["exitCode"], result["interpreter"]) == ("ab\n", 0, "bash"), result
            result = run(session, 'echo "$(echo inner)"', **fields)
            assert result["stdout"] == "inner\n" and result["interpreter"] == "bash" and "warnings" not in result, result
            result = run(session, "echo plain; pwd", **fields)
            assert result["stdout"] == "plain\n/\n" and "interpreter" not in result, "the language takes it"
        assert run(session, 'echo "$(echo inner)"', context="strict")["warnings"][0]["code"] == "SUBSTITUTION_NOT_PERFORMED"
        result = run(session, "echo a; if then", context="lenient")
        assert result["exitCode"] == 2 and "syntax error" in result["stderr"] and result["interpreter"] == "bash", result
        assert run(session, "x" * (1024 * 1024 + 1), 400, context="lenient")["code"] in ("BAD_VALUE", "UNSUPPORTED_SYNTAX")
        call(session, "PATCH", place("lenient"), {"shell": "never"})
        assert call(session, "GET", place("lenient"))["settings"]["shell"] == "never"
        assert run(session, LOOP, 400, context="lenient")["code"] == "UNSUPPORTED_SYNTAX"
    assert refused(session, "POST", "/v1/exec", {"command": "true", "shell": "always"}) == (400, "BAD_VALUE", "shell")
    assert refused(session, "POST", "/v1/exec", {"argv": ["true"], "shell": "fallback"}) == (400, "BAD_VALUE", "shell")
    assert refused(session, "PATCH", "/v1/contexts/default", {"shell": "bash"}) == (400, "BAD_VALUE", "shell")


@test("state goes to the shell and comes back from it: directory, exports, what was unset; after success, failure, exit, set -e", needs=("moat",))
def both_ways(session):
    with fresh(session, "both", shell="fallback", env={"GIVEN": "1"}) as top:
        run(session, f"mkdir -p {top}/d; cd {top}; export A=1; HERE=\"it's 2\"; LINES='two\nlines'", context="both")
        result = run(session, "for i in 1; do cd d; export B=\"$A$HERE\"; unset GIVEN A; C=$LINES; done; echo $# $LINENO \"$C\"", context="both")
        assert result["stdout"].startswith("0 ") and result["stdout"].endswith("two\nlines\n") and "warnings" not in result, result
        assert state(session, "both") == {"directory": f"{top}/d", "env": {"B": "1it's 2", "OLDPWD": "/"},
                                          "variables": {"HERE": "it's 2", "LINES": "two\nlines"}, "unset": ["GIVEN"]}
        for number, text in enumerate(("export N={}; : $(false); false", "export N={}; : $(true); exit 3", "set -e; export N={}; : $(true); false; export N=no",
                                       "export N={}; cat <<E\n$(true)\nE", "export N={}; (export N=no; : $(true))", "if true; then export N={}; fi")):
            result = run(session, text.format(number), context="both")
            assert "warnings" not in result and result["interpreter"] == "bash", (text, result)
            assert run(session, "echo $N", context="both")["stdout"] == f"{number}\n", text
        assert session.exec("/usr/bin/env", context="both").out.count("SHLVL=") == 0


@test("a string that replaces the trap, calls exec or is killed hands nothing back, and the answer warns", needs=("moat",))
def not_returned(session):
    with fresh(session, "lost", shell="fallback"):
        for text in ("trap - EXIT; export A=$(echo 1)", "export A=$(echo 1); exec true", "export A=$(echo 1); kill -9 $$"):
            result = run(session, text, context="lost")
            assert [each["code"] for each in result["warnings"]] == ["STATE_NOT_RETURNED"] and result["interpreter"] == "bash", (text, result)
        assert result["exitCode"] == 137, result
        slow = run(session, "export A=$(echo 1); sleep 60; true", context="lost", timeoutMs=1000)
        assert slow["timedOut"] and [each["code"] for each in slow["warnings"]] == ["STATE_NOT_RETURNED"] and slow["interpreter"] == "bash", slow
        large = run(session, "for i in $(seq 100); do export V$i=$(head -c 1000 /dev/zero | tr '\\0' x); done", context="lost")
        assert [each["code"] for each in large["warnings"]] == ["STATE_TOO_LARGE"], large
        assert state(session, "lost") == EMPTY


@test("a shell in secure, or with an env of its own, leaves nothing and sees no state", needs=("moat",))
def apart(session):
    with fresh(session, "aside", shell="fallback"):
        run(session, "export POISON=1", context="aside")
        for fields in ({"isolated": True}, {"env": {"GIVEN": "1"}}, {"env": {"GIVEN": "1"}, "isolated": False}):
            seen = "1" if fields.get("isolated") is False else ""
            result = run(session, "export LEFT=$(echo $GIVEN); cd /usr; echo \"$POISON\"", context="aside", **fields)
            assert result["stdout"] == f"{seen}\n" and result["interpreter"] == "bash" and "warnings" not in result, (fields, result)
        assert state(session, "aside")["env"] == {"POISON": "1"} and state(session, "aside")["directory"] is None


@test("without bash it is sh, without both 127 with what to do; and a string of a mebibyte is no argument of it", needs=("moat",))
def which(session):
    with fresh(session, "which", shell="fallback") as top:
        os.symlink("/bin/sh", os.path.join(top, "sh"))
        result = run(session, "export A=$(echo 1); cd /usr", context="which", env={"PATH": top}, isolated=False)
        assert result["exitCode"] == 0 and result["interpreter"] == "sh", result
        run(session, f"export PATH={top}", context="which")
        result = run(session, "export A=$(echo 1); cd /usr", context="which")
        assert result["interpreter"] == "sh" and state(session, "which")["env"] == {"A": "1", "PATH": top}, result
        run(session, "export PATH=/nowhere", context="which")
        result = run(session, "echo $(true)", context="which")
        assert result["exitCode"] == 127 and result["interpreter"] is None and "neither bash nor sh" in result["stderr"], result
        call(session, "DELETE", place("which") + "/state")
        text = "echo $(true)\n: '" + "x" * (1024 * 1024 - 17) + "'"
        assert len(text) == 1024 * 1024
        result = run(session, text, context="which")
        assert result["exitCode"] == 0 and result["interpreter"] == "bash", result
        shown = run(session, "echo $(tr '\\0' ' ' < /proc/$$/cmdline)", context="which")["stdout"]
        assert "cmdline" not in shown and shown.startswith("bash -c "), shown


@test("moat run --shell=fallback runs what moat run refuses", needs=("moat",))
def command_line(session):
    with start_cli(session, "run", "--shell", "fallback", LOOP) as process:
        assert process.communicate()[0] == b"ab\n" and process.wait() == 0
    with start_cli(session, "run", LOOP) as process:
        process.communicate()
        assert process.returncode == 125
