# SPDX-License-Identifier: Apache-2.0
"""What the user sees: live output, the verdict on one kernel, the summary."""

import os
import sys

import cache
import tap

TAIL = 60
COLOURS = {"pass": "32", "fail": "31", "skip": "33", "dim": "2"}


def coloured(text, kind, stream):
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{COLOURS[kind]}m{text}\033[0m"


class Lines:
    """Cuts a stream into lines and hands each on."""

    def __init__(self, handle):
        self.handle, self.rest = handle, b""

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.handle(line.decode(errors="replace"))

    def close(self):
        if self.rest:
            self.feed(b"\n")


class Run:
    """One kernel's run. Used as a context while the machine lives; judge() afterwards."""

    def __init__(self, name, release, args):
        self.name, self.release, self.args = name, release, args
        base = os.path.join(args.results, name)
        self.console, self.tap_path, self.err_path = base + ".console", base + ".tap", base + ".stderr"
        self.result, self.tap, self.complaints = None, tap.Tap(), []
        self.width = max(map(len, args.kernels))
        self.to = sys.stderr if args.json else sys.stdout
        self.seen_console, self.files = 0, []
        self.out_lines, self.err_lines = Lines(self.tap_line), Lines(self.prefixed)

    def __enter__(self):
        self.files = [open(self.tap_path, "wb"), open(self.err_path, "wb")]
        return self

    def __exit__(self, *_):
        self.tick()
        for lines in (self.out_lines, self.err_lines):
            lines.close()
        for file in self.files:
            file.close()

    def out(self, data):
        self.files[0].write(data)
        self.files[0].flush()
        if self.args.plain:
            self.raw(1, data)
        else:
            self.out_lines.feed(data)

    def err(self, data):
        self.files[1].write(data)
        self.files[1].flush()
        if self.args.plain:
            self.raw(2, data)
        else:
            self.err_lines.feed(data)

    def raw(self, descriptor, data):
        if self.args.json:
            descriptor = 2
        while data:
            data = data[os.write(descriptor, data):]

    def tap_line(self, text):
        self.tap.line(text)
        kind = "fail" if text.startswith("not ok") else "skip" if "# SKIP" in text else None
        self.prefixed(coloured(text, kind, self.to) if kind else text)

    def prefixed(self, text):
        print(f"{coloured(self.name.rjust(self.width) + ' |', 'dim', self.to)} {text}", file=self.to, flush=True)

    def tick(self):
        """Shows what the console has gained, when asked to."""
        if not self.args.verbose or not os.path.exists(self.console):
            return
        with open(self.console, "rb") as file:
            file.seek(self.seen_console)
            data = file.read()
        self.seen_console += len(data)
        sys.stderr.write(data.decode(errors="replace").replace("\r", ""))
        sys.stderr.flush()

    def judge(self):
        """Turns result and TAP into passed, failed, skipped; says at once what went wrong with the machine."""
        if self.result.status is None:
            self.complaints = [f"no verdict ({self.result.why})"]
        elif self.args.plain:
            self.complaints = [f"exit status {self.result.status}"] if self.result.status else []
        else:
            self.complaints = self.tap.complaints(self.result.status)
        for text in self.complaints:
            print(coloured(f"not ok - vm {self.name}: {text}", "fail", sys.stderr), file=sys.stderr, flush=True)
        if self.result.status is None:
            self.show_console()

    def show_console(self):
        with open(self.console, errors="replace", encoding="utf-8") as file:
            lines = file.read().replace("\r", "").splitlines()[-TAIL:]
        for line in lines:
            print(f"  {line}", file=sys.stderr)
        print(f"  (the last {len(lines)} lines of {self.console})", file=sys.stderr, flush=True)

    def failures(self):
        return [f"vm: {text}" for text in self.complaints] + self.tap.failures

    def passed(self):
        return int(not self.complaints) if self.args.plain else len(self.tap.passed)

    def facts(self):
        return {"kernel": self.name, "release": self.release, "pass": not self.failures(), "passed": self.passed(),
                "failed": len(self.failures()), "skipped": len(self.tap.skipped), "seconds": round(self.result.seconds, 1),
                "status": self.result.status, "failures": self.failures(), "skips": self.tap.skipped,
                "console": self.console, "tap": self.tap_path}


def summary(runs, args):
    """An aligned table and the line of totals. With --plain stdout is the command's, so nothing but trouble is said."""
    to = sys.stderr if args.json or args.plain else sys.stdout
    if args.plain and len(runs) == 1:
        return
    widths = [max(len(run.name) for run in runs), max(len(run.release) for run in runs)]
    print(f"\n{'kernel':<{max(widths[0], 6)}}  {'release':<{widths[1]}}  verdict  passed  failed  skipped  seconds", file=to)
    for run in runs:
        verdict = "fail" if run.failures() else "pass"
        print(f"{run.name:<{max(widths[0], 6)}}  {run.release:<{widths[1]}}  {coloured(f'{verdict:<7}', verdict, to)}  "
              f"{run.passed():>6}  {len(run.failures()):>6}  {len(run.tap.skipped):>7}  {run.result.seconds:>7.1f}", file=to)
    for run in runs:
        if cache.stands_in(run.name, run.release):
            print(coloured(f"  note: {run.release}{cache.stands_in(run.name, run.release)}", "skip", to), file=to)
        for text in run.failures():
            print(coloured(f"  not ok {run.name}: {text}", "fail", to), file=to)
    print(f"{sum(r.passed() for r in runs)} passed, {sum(len(r.failures()) for r in runs)} failed, "
          f"{sum(len(r.tap.skipped) for r in runs)} skipped", file=to, flush=True)
