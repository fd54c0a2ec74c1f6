// SPDX-License-Identifier: Apache-2.0
// What can be run: in one context, or where the options say.
import { command } from "./command.js";
import { MoatError } from "./errors.js";
import {
	EXEC_OPTIONS, PROCESS_OPTIONS, STREAM_OPTIONS, checkOptions, environment, exec, execArguments, execStream,
} from "./exec.js";
import { Files } from "./files.js";
import { startProcess } from "./process.js";

/** Changes the settings of a context. */
export async function patchContext(transport, name, body) {
	return transport.json("PATCH", `/v1/contexts/${encodeURIComponent(name)}`, body);
}

/** Whether the kernel shields the environment of a command from all others, and why not. */
export async function secureExecution(transport) {
	const { enforcement, notEnforced, requirements } = await transport.json("GET", "/v1/status");
	const { active, mode, reason } = enforcement;
	// Where the kernel takes no programs, other layers may do, against contexts without capabilities that undo them.
	const { guard, notFor } = requirements.find(({ id }) => id === "C3");

	if (active && mode === "audit")
		return { available: false, reason: "moat is in audit mode, which refuses nothing" };
	if (active ? notEnforced.length === 0 : guard === "guarded" && notFor.length === 0)
		return { available: true, reason: null };
	if (!active && guard === "guarded")
		return { available: false, reason: `context ${notFor.join(", ")} can read them: ${reason}` };
	return { available: false, reason: reason || `the kernel does not enforce: ${notEnforced.join(", ")}` };
}

/** Before a secret is sent. The mode is what can change while the agent runs. */
async function requireShield(transport) {
	if ((await transport.json("GET", "/v1/mode")).mode === "enforce")
		return;
	const { available, reason } = await secureExecution(transport);

	if (!available)
		throw new MoatError("NOT_SHIELDED",
			`the command was not started, its variables would not be shielded: ${reason}`, { reason });
}

export class Runner {
	/** context: its name; null: that of the options' sessionId, or default. */
	constructor(transport, context, defaults) {
		this._transport = transport;
		this._context = context;
		this._defaults = defaults;
		/** Those of the context. */
		this.files = new Files(transport, context ?? "default");
	}

	/** Runs a command to its end, whatever its status; also a tag: ctx.exec`git clone ${url}`. */
	async exec(...args) {
		const [given, options] = execArguments(args, EXEC_OPTIONS);

		return exec(this._transport, this._context, given, { ...this._defaults, ...options });
	}

	/** The records of a command as they come: start, stdout, stderr, exit. */
	execStream(...args) {
		const [given, options] = execArguments(args, STREAM_OPTIONS);

		return execStream(this._transport, this._context, given, { ...this._defaults, ...options });
	}

	/** Runs a command apart from all others, and only where the kernel shields what it is given. */
	async execSecure(given, options = {}) {
		const { allowUnshielded = false, ...rest } = checkOptions(options, [...EXEC_OPTIONS, "allowUnshielded"]);

		if (rest.isolated === false)
			throw new TypeError("execSecure runs a command apart from all others: isolated cannot be false");
		rest.signal?.throwIfAborted();
		if (!allowUnshielded)
			await requireShield(this._transport);
		return exec(this._transport, this._context, given, { ...this._defaults, ...rest, isolated: true });
	}

	/** Starts a command that goes on: a Process, when it runs. */
	async startProcess(...args) {
		const [given, options] = execArguments(args, PROCESS_OPTIONS);

		return startProcess(this._transport, this._context, given, { ...this._defaults, ...options });
	}
}

/** A context by its name; that it exists is not asked. */
export class Context extends Runner {
	constructor(transport, name, defaults, info = null) {
		super(transport, name, defaults);
		this.name = name;
		/** Of createContext: what the agent said of it. */
		this.warnings = info?.warnings ?? [];
	}

	/** Sets variables for what is started later; null takes one out. */
	async setEnv(variables) {
		return patchContext(this._transport, this.name, { env: environment(variables, true) });
	}

	/** Where commands start that say nothing else; null: as if it had never been given. */
	async setDirectory(directory) {
		return patchContext(this._transport, this.name, { directory });
	}

	/** Goes to a directory, for the commands that come: as `cd` in a command string. Throws where it cannot. */
	async cd(directory) {
		const result = await this.exec(command`cd ${directory}`);

		if (!result.ok)
			throw new MoatError("BAD_DIRECTORY", result.stderr.trim(), { directory });
	}

	/** Forgets what its command strings went to, exported, assigned and unset. Whether there was anything. */
	async resetState() {
		return (await this._transport.json("DELETE", `/v1/contexts/${encodeURIComponent(this.name)}/state`)).reset;
	}

	async info() {
		return this._transport.json("GET", `/v1/contexts/${encodeURIComponent(this.name)}`);
	}

	/** Kills what runs in it and removes it. keep: nothing is killed, and it goes with the last that runs. */
	async remove({ keep = false } = {}) {
		const path = `/v1/contexts/${encodeURIComponent(this.name)}`;

		return this._transport.json("DELETE", keep ? `${path}?keep=true` : path);
	}
}
