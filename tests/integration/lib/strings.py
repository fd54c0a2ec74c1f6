# SPDX-License-Identifier: Apache-2.0
"""Strings of the command language, drawn at random: what moat-run and a shell have to agree about."""

import random

NAMES = ["A", "B", "LONG", "UNSET"]
VALUES = ["x", "'a b'", '"c  d"', "''", "1", "e*", "'*.t'", "$A", '"$B"', "~/z", "a:~/b"]
LITERALS = ["a", "b.t", "--flag", "x=1", "'s q'", '"d q"', "e\\ f", "''", '""', "*", "*.t", "[ab].t", "?.t", "d/*", "no*match", "[", "{}", "~",
            "~/q", "a#b", "'#'", "\\$A", "'$A'", "a'b'\"c\"", "\\'", '"\\"\\$\\`"', "5", "\\\\", "'*'", "x~", "=", "!",
            "[!a]*", "[[:alpha:]].t", "[a-b].t", ".h*", "*/in", "l*/", "'two\nlines'", "\\\n x", "\"jo\\\nined\"", "e1", "*1", "\\*", "a.t"]
EXPANSIONS = ["$A", "${B}", '"$A"', '"${B}x"', "$LONG", '"$LONG"', "$UNSET", '"$UNSET"', "$?", "${A:-d e}", "${UNSET:-d e}", '"${UNSET:-d  e}"',
              "${A:+set}", '"${UNSET:+set}"', "x$A", "$A$B", "${UNSET:-$B}", "a${LONG}b", "${UNSET:-'q  q'}", "$A\"$B\"", "${UNSET:-*.t}",
              "${UNSET:-${A:-z}}", "${A:+\"$B\" c}", "${LONG:+${B}}", '"$A$UNSET"', "$UNSET$UNSET", "${UNSET:-~}", "${A:?no A}"]
PROGRAMS = ["printf '<%s>'", "echo", "printf '%s\\n'", "cat", "cat -", "true", "false", "/bin/echo", "no-such-program", "env | grep '^[ABE]='",
            "head -c 20", "wc -c", "sh -c 'exit 5'", "test a = a", "[ x = y ]", "pwd", ":", "tr a-z A-Z", "cat missing-file"]

FILTERS = ["cat", "tr a-z A-Z", "wc -c", "cat -", "{ cat; false; }", "( cd d; cat; pwd )", "{ A=1; cat; }", "{ cat; exit 4; }", "sed s/a/b/", "( cat )",
           "{ cat && sh -c 'exit 3'; }", "sort >&1", "cat 2>/dev/null"]


class Strings:
    """Each next() is another one; the same seed, the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def word(self):
        return self.random.choice(EXPANSIONS if self.chance(0.4) else LITERALS)

    def words(self):
        return "".join(" " + self.word() for _ in range(self.random.randrange(4)))

    def redirection(self):
        return self.random.choice(["> .out", ">> .out", "2>&1", "2> .err", "< b.t", "> d/.f", "2>/dev/null", "< missing-file", "<> .rw", ">&2", "3>&1 >&3",
                                   ">| .out", "<&-", "< a.t > .out", "2>&1 > .out", "<> a.t", "> .out 2>&1", "> missing/f", "3< a.t <&3"])

    def idiom(self):
        text = self.one("lines\nof text", "a $A", "\"q\" 'q'", "", "end\n\n", "\\ $(x) `y`", "\t")
        return f"{self.one('echo ', 'A=', 'printf %s ', 'export B=')}\"{self.one('', 'x ')}$(cat <<'E'\n{text}\nE\n)\""

    def document(self):
        text = self.random.choice(["plain", "$A and \"$B\"", "'q' \\$A \\\\ \\x", "\ttab", "", "two\nlines", "${UNSET:-w}"])
        delimiter = self.one("E", "'E'", "E")
        return f"cat <<{self.one('', '-')}{delimiter}{self.one('', ' | tr a-z A-Z', ' > .out', ' && echo after')}\n{text}\nE\n"

    def simple(self):
        kind = self.random.random()
        if kind < 0.12:
            return f"{self.random.choice(NAMES[:3])}={self.random.choice(VALUES)}"
        if kind < 0.17:
            return f"export {self.random.choice(NAMES[:3])}={self.random.choice(VALUES)}"
        if kind < 0.20:
            return f"unset {self.random.choice(NAMES)}"
        if kind < 0.27:
            return self.random.choice(["cd d", "cd ..", "cd missing 2>/dev/null", "cd", "{ cd d && cd - >/dev/null; }", "cd ./d/../d", "cd link", "cd ~/link/..", "cd -P link"])
        if kind < 0.30:
            return f"exit {self.one('', '3', '$?')}"
        if kind < 0.33:
            return "command " + self.one("true", "false", "echo x", "-v cat", "-v no-such-program", "-v cd")
        if kind < 0.35:
            return self.one("set -e", "set +e", "set -u", "set +u", "export A B", "unset A B", "unset -v LONG", "pwd -P", "pwd -L")
        if kind < 0.37:
            return self.idiom()
        program = self.random.choice(PROGRAMS)
        # Behind a special builtin the assignment stays, in dash.
        prefix = f"{self.random.choice(NAMES[:2])}={self.random.choice(VALUES)} " if program != ":" and self.chance(0.08) else ""
        text = prefix + program + ("" if "|" in program or program in ("pwd",) else self.words())
        # A special builtin whose redirection fails ends dash.
        return text + (f" {self.redirection()}" if program != ":" and self.chance(0.25) else "")

    def command(self, depth):
        kind = self.random.random()
        if depth and kind < 0.10:
            return f"( {self.list(depth - 1)} )" + (f" {self.redirection()}" if self.chance(0.2) else "")
        if depth and kind < 0.20:
            return f"{{ {self.list(depth - 1)}; }}" + (f" {self.redirection()}" if self.chance(0.2) else "")
        return self.simple()

    def pipeline(self, depth):
        """Whoever reads a pipe reads all of it: else it is a matter of time whether the writer is killed."""
        members = [self.command(depth)] + [self.random.choice(FILTERS) for _ in range(self.random.choice([0, 0, 0, 1, 1, 2]))]
        return ("! " if self.chance(0.1) else "") + " | ".join(members)

    def list(self, depth):
        text = self.pipeline(depth)
        for _ in range(self.random.randrange(3)):
            text += self.random.choice(["; ", " && ", " || ", "\n"]) + self.pipeline(depth)
        return text

    def next(self):
        start = self.one("", "", "", "set -e; ", "A=1 B='p q'; ", "LONG='r s  t'\n")
        text = start + self.list(self.one(0, 0, 1, 1, 2))
        if self.chance(0.15):
            text += "\n" + self.document()
        if self.chance(0.1):
            job = self.one("sleep 0", "exit 3", "( false )", "true && false", "{ cat; pwd; }", "A=2", "cd d")
            text += f"{'' if text.endswith(chr(10)) else '; '}{job} & wait $!"
        if self.chance(0.3) and not text.endswith("\n"):
            text += self.random.choice(["; echo $?", "; echo \"$A|$B\"; pwd", " # comment"])
        return text
