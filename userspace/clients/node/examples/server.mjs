// SPDX-License-Identifier: Apache-2.0
// A dev server: started, waited for, seen and ended by other commands of its context, started again.
// usage: node server.mjs [PORT]
import { Moat } from "moat-client";

const port = process.argv[2] ?? "3000";
const moat = new Moat();
const context = await moat.createContext({ name: `dev-${process.pid}`, directory: "/tmp" });

/** The port is no secret: not isolated, so that later commands see the server. */
async function start() {
	const server = await context.startProcess('python3 -u -m http.server --bind 127.0.0.1 "$PORT"', { env: { PORT: port }, isolated: false });

	await server.waitForPort(Number(port), { timeout: 60_000 });
	return server;
}

try {
	let server = await start();
	console.log(`up: ${(await fetch(`http://127.0.0.1:${port}/`)).status}`);
	console.log(`asked by a command of its context: ${(await context.exec(["python3", "-c",
		"import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).status)", `http://127.0.0.1:${port}/`])).stdout.trim()}`);

	await server.signal("TERM");
	console.log(`ended by ${(await server.exited).signal}`);

	server = await start();
	console.log(`up again: ${(await fetch(`http://127.0.0.1:${port}/`)).status}`);
	await server.kill();
	console.log(`killed: ${(await server.exited).signal}`);
} finally {
	await context.remove();
}
