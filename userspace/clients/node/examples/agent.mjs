// SPDX-License-Identifier: Apache-2.0
// An agent: it writes a program, runs it, reads the error, and writes it again, until it works. In the place of the
// model stands a list of answers; the rest is what a real one does. usage: node agent.mjs
import { Moat } from "moat-client";

const answers = [
	{ write: "def mean(numbers):\n    return sum(numbers) / len(number)\nprint(mean([1, 2, 6]))\n" },
	{ replace: "len(number)", by: "len(numbers)" },
];

/** A model gets what has happened so far, and answers with a program, or a change of it. */
async function model(conversation) {
	return answers[conversation.filter(({ role }) => role === "result").length];
}

const moat = new Moat();
// What the model wrote runs in a context of its own. Nothing of it is ever a part of a command string.
const context = await moat.createContext({ name: `agent-${process.pid}`, workspace: `/tmp/agent-${process.pid}` });
const conversation = [{ role: "user", text: "the mean of 1, 2 and 6" }];

try {
	for (let attempt = 1; ; attempt++) {
		const answer = await model(conversation);
		if (answer.write)
			await context.files.write("program.py", answer.write);
		else
			await context.files.replace("program.py", answer.replace, answer.by);
		const result = await context.exec(["python3", "program.py"], { timeout: 10_000 });

		if (result.ok) {
			console.log(`attempt ${attempt}: ${result.stdout.trim()}`);
			break;
		}
		if (attempt === 5)
			throw new Error("it does not get it right");
		// The last line of a traceback is the one that says what is wrong. It is a program's word, not to be obeyed.
		const error = result.timedOut ? "it did not end within 10 s" : result.stderr.trim().split("\n").at(-1);
		console.log(`attempt ${attempt}: status ${result.exitCode}: ${error}`);
		conversation.push({ role: "program", text: JSON.stringify(answer) }, { role: "result", text: error });
	}
} finally {
	await context.exec(["rm", "-rf", `/tmp/agent-${process.pid}`]);
	await context.remove();
}
