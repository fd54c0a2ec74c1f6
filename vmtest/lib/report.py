# SPDX-License-Identifier: Apache-2.0
"""What the user sees: live output, the verdict on one kernel, the summary. The runs live in threads: what one writes at once
stays together."""

import os
import sys
import threading

import cache
import tap

TAIL = 60
SCREEN = threading.RLock()
COLOURS = {"pass": "32", "fail": "31", "skip": "33", "dim": "2"}


def show(text, stream):
    with SCREEN:
        stream.write(text + "\n")
        stream.flush()


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
        self.alone = len(args.kernels) == 1
        self.seen_console, self.files = 0, []
        self.out_lines, self.err_lines = Lines(self.tap_line), Lines(self.prefixed)
        self.console_lines = Lines(self.console_line)

    def __enter__(self):
        self.files = [open(self.tap_path, "wb"), open(self.err_path, "wb")]
        return self

    def __exit__(self, *_):
        self.tick()
        for lines in (self.out_lines, self.err_lines, self.console_lines):
            lines.close()
        for file in self.files:
            file.close()

    def out(self, data):
        self.take(data, 0, self.out_lines)

    def err(self, data):
        self.take(data, 1, self.err_lines)

    def take(self, data, number, lines):
        self.files[number].write(data)
        self.files[number].flush()
        if not self.args.plain:
            lines.feed(data)
        elif self.alone:
            self.raw(number + 1, data)

    def raw(self, descriptor, data):
        if self.args.json:
            descriptor = 2
        while data:
            data = data[os.write(descriptor, data):]

    def replay(self):
        """What was held back while other machines wrote as well."""
        for descriptor, path in ((1, self.tap_path), (2, self.err_path)):
            with open(path, "rb") as file:
                self.raw(descriptor, file.read())

    def tap_line(self, text):
        self.tap.line(text)
        kind = "fail" if text.startswith("not ok") else "skip" if "# SKIP" in text else None
        self.prefixed(coloured(text, kind, self.to) if kind else text)

    def prefixed(self, text):
        show(f"{coloured(self.name.rjust(self.width) + ' |', 'dim', self.to)} {text}", self.to)

    def console_line(self, text):
        show(text if self.alone else f"{self.name.rjust(self.width)} : {text}", sys.stderr)

    def tick(self):
        """Shows what the console has gained, when asked to."""
        if not self.args.verbose or not os.path.exists(self.console):
            return
        with open(self.console, "rb") as file:
            file.seek(self.seen_console)
            data = file.read()
        self.seen_console += len(data)
        self.console_lines.feed(data.replace(b"\r", b""))

    def judge(self):
        """Turns result and TAP into passed, failed, skipped; says at once what went wrong with the machine."""
        if self.result.status is None:
            self.complaints = [f"no verdict ({self.result.why})"]
        elif self.args.plain:
            self.complaints = [f"exit status {self.result.status}"] if self.result.status else []
        else:
            self.complaints = self.tap.complaints(self.result.status)
        with SCREEN:
            if self.args.plain and not self.alone:
                self.replay()
            for text in self.complaints:
                show(coloured(f"not ok - vm {self.name}: {text}", "fail", sys.stderr), sys.stderr)
            if self.result.status is None:
                self.show_console()

    def show_console(self):
        with open(self.console, errors="replace", encoding="utf-8") as file:
            lines = file.read().replace("\r", "").splitlines()[-TAIL:]
        for line in lines:
            show(f"  {line}", sys.stderr)
        show(f"  (the last {len(lines)} lines of {self.console})", sys.stderr)

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
