// SPDX-License-Identifier: Apache-2.0
// A terminal: what is typed here goes to a shell in a context, and what that writes comes here, byte for byte. A terminal in a
// browser does the same with a socket in the place of this one. usage: node terminal.mjs [COMMAND [ARGUMENT...]]
import { Moat } from "moat-client";

const { stdin, stdout } = process;
const argv = process.argv.length > 2 ? process.argv.slice(2) : ["bash"];
const size = () => ({ rows: stdout.rows || 24, cols: stdout.columns || 80 }); // 0: a terminal that knows none, as a serial line
const context = await new Moat().createContext({ name: `terminal-${process.pid}`, directory: "/tmp" });

/** What is typed when it has just ended goes nowhere. */
function unlessEnded(error) {
	if (!["STDIN_CLOSED", "NO_SUCH_PROCESS", "NO_TERMINAL"].includes(error.code))
		throw error;
}

try {
	const shell = await context.startProcess(argv, { tty: true, ...size(), maxOutput: 0, onOutput: (_stream, _text, data) => void stdout.write(data) });

	stdin.setRawMode?.(true); // each key is the shell's, Ctrl-C as well
	stdin.on("data", (data) => shell.write(data).catch(unlessEnded));
	stdout.on("resize", () => shell.resize(size()).catch(unlessEnded));
	process.exitCode = (await shell.exited).exitCode;
} finally {
	stdin.setRawMode?.(false);
	await context.remove();
}
process.exit();
