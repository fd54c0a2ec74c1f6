# SPDX-License-Identifier: Apache-2.0
"""Reads TAP and decides. Only what the tests of this project write is understood: results, skips, one plan, a bail-out."""

import re

RESULT = re.compile(r"^(?P<no>not )?ok (?P<number>\d+)(?: - (?P<name>.*?))?(?P<skip>\s*# SKIP\b.*?)?"
                    r"(?:\s*# time=(?P<seconds>[\d.]+)s)?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#.*)?$")


class Tap:
    def __init__(self):
        self.passed, self.skipped, self.failures = [], [], []
        self.numbers, self.plans, self.bailed = [], [], None

    def line(self, text):
        text = text.rstrip()
        result, plan = RESULT.match(text), PLAN.match(text)
        if result:
            self.numbers.append(int(result["number"]))
            name = result["name"] or f"test {result['number']}"
            # A failure stays a failure, whatever directive follows it.
            kind = self.failures if result["no"] else self.skipped if result["skip"] else self.passed
            kind.append(name)
        elif plan:
            self.plans.append(int(plan.group(1)))
        elif text.startswith("Bail out!"):
            self.bailed = text

    def complaints(self, status):
        """Why the run as a whole cannot be trusted, beyond tests that failed. status: what the command exited with."""
        ran, found = len(self.numbers), []
        if self.bailed:
            found.append(self.bailed)
        if not self.plans:
            found.append(f"no plan: the line 1..N is missing after {ran} results")
        elif len(self.plans) > 1:
            found.append(f"{len(self.plans)} plans")
        elif self.plans[0] != ran:
            found.append(f"{self.plans[0]} tests planned, {ran} ran")
        elif self.numbers != list(range(1, ran + 1)):
            found.append("test numbers are not 1, 2, 3...")
        if status and not self.failures and not found:
            found.append(f"exit status {status} although no test failed")
        if self.plans == [0]:
            found.append("no tests")
        return found
