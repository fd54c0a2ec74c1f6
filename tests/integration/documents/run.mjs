// SPDX-License-Identifier: Apache-2.0
// Runs the lines of the source documents with the Node client: run.mjs CLIENT alone|real DOCUMENT... Prints a line of JSON for
// each: {name: "000 1", error, seconds}. Those about a control plane and about real programs are `real`. What one leaves is taken away.
import { documents } from "./documents.mjs";

const [client, kind, ...wanted] = process.argv.slice(2);
const moat = await import(client);
const sandbox = new moat.Moat();

async function run(line) {
	const before = new Set((await sandbox.contexts()).map(({ name }) => name));

	try {
		await line(sandbox, moat);
		return null;
	} catch (error) {
		return error.stack;
	} finally {
		for (const { name } of await sandbox.contexts()) {
			if (!before.has(name))
				await sandbox.context(name).remove();
		}
		await sandbox.context("default").resetState();
	}
}

for (const [document, lines] of Object.entries(documents[kind])) {
	for (const [number, line] of wanted.includes(document) ? Object.entries(lines) : []) {
		const begin = Date.now(), error = await run(line);

		console.log(JSON.stringify({ name: `${document} ${number}`, error, seconds: (Date.now() - begin) / 1000 }));
	}
}
process.exit(); // the servers that stand for the world outside
