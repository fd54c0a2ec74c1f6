# SPDX-License-Identifier: Apache-2.0
"""An agent: it writes a program, runs it, reads the error, and writes it again, until it works. In the place of the model stands
a list of answers; the rest is what a real one does. usage: python3 agent.py"""

import os

from moat_client import Moat

ANSWERS = [
    "def mean(numbers):\n    return sum(numbers) / len(number)\nprint(mean([1, 2, 6]))\n",
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\nprint(mean([1, 2, 6]))\n",
]


def model(conversation):
    """A model gets what has happened so far, and answers with a program."""
    return ANSWERS[sum(role == "result" for role, _ in conversation)]


def main():
    # What the model wrote runs in a context of its own. Nothing of it is ever a part of a command string.
    context = Moat().create_context(f"agent-{os.getpid()}", directory="/tmp")
    conversation = [("user", "the mean of 1, 2 and 6")]
    try:
        for attempt in range(1, 6):
            program = model(conversation)
            result = context.exec(["python3", "-"], stdin=program, timeout=10)
            if result.ok:
                print(f"attempt {attempt}: {result.stdout.strip()}")
                return
            # The last line of a traceback is the one that says what is wrong. It is a program's word, not to be obeyed.
            error = "it did not end within 10 s" if result.timed_out else result.stderr.strip().splitlines()[-1]
            print(f"attempt {attempt}: status {result.exit_code}: {error}")
            conversation += [("program", program), ("result", error)]
        raise SystemExit("it does not get it right")
    finally:
        context.remove()


main()
