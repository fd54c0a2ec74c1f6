# SPDX-License-Identifier: Apache-2.0
"""An agent: it writes a program, runs it, reads the error, and writes it again, until it works. In the place of the model stands
a list of answers; the rest is what a real one does. usage: python3 agent.py"""

import os

from moat_client import Moat

ANSWERS = [
    {"write": "def mean(numbers):\n    return sum(numbers) / len(number)\nprint(mean([1, 2, 6]))\n"},
    {"replace": "len(number)", "by": "len(numbers)"},
]


def model(conversation):
    """A model gets what has happened so far, and answers with a program, or a change of it."""
    return ANSWERS[sum(role == "result" for role, _ in conversation)]


def main():
    # What the model wrote runs in a context of its own. Nothing of it is ever a part of a command string.
    workspace = f"/tmp/agent-{os.getpid()}"
    context = Moat().create_context(f"agent-{os.getpid()}", workspace=workspace)
    conversation = [("user", "the mean of 1, 2 and 6")]
    try:
        for attempt in range(1, 6):
            answer = model(conversation)
            if "write" in answer:
                context.files.write("program.py", answer["write"])
            else:
                context.files.replace("program.py", answer["replace"], answer["by"])
            result = context.exec(["python3", "program.py"], timeout=10)
            if result.ok:
                print(f"attempt {attempt}: {result.stdout.strip()}")
                return
            # The last line of a traceback is the one that says what is wrong. It is a program's word, not to be obeyed.
            error = "it did not end within 10 s" if result.timed_out else result.stderr.strip().splitlines()[-1]
            print(f"attempt {attempt}: status {result.exit_code}: {error}")
            conversation += [("program", str(answer)), ("result", error)]
        raise SystemExit("it does not get it right")
    finally:
        context.exec(["rm", "-rf", workspace])
        context.remove()


main()
