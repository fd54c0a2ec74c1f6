// SPDX-License-Identifier: Apache-2.0
// A command that goes on while its caller does something else: a server, a watcher.
import { WaitError } from "./errors.js";
import { Collector, execStream, followStream, giveUp, kill } from "./exec.js";
import { Stdin } from "./stdin.js";
import { processPath } from "./transport.js";

/** What waitForOutput can still find: characters of each stream. */
const TAIL = 1 << 20;

/** At most so many milliseconds the agent is asked to wait for a port, before it is looked whether the process is still there. */
const PORT_SLICE = 500;

/** Before what is listening but somebody else's is looked at again: milliseconds. */
const PORT_DELAY = 100;

/** Sends a signal to the process group of a command; to: "main", to itself, or "tree", to all that it has started. */
export async function signal(transport, id, number, { to } = {}) {
	return transport.json("POST", `${processPath(id)}/signal`, { signal: number, ...(to !== undefined && { to }) });
}

/** What listens on a port: those of the agent's answer, when there are any that pass, or null after some milliseconds. */
async function listeners(transport, port, passes, milliseconds) {
	const path = `/v1/ports/${encodeURIComponent(port)}?state=listening&timeoutMs=${Math.max(1, Math.round(milliseconds))}`;
	const found = (await transport.json("GET", path)).listeners.filter(passes);

	return found.length ? found : null;
}

/** Resolves when something that passes listens on a port. over(): throws where it is of no use to go on. */
export async function waitForPort(transport, port, { timeout = 30000, signal: abort } = {}, passes = () => true, over = () => {}) {
	const end = Date.now() + timeout;

	for (let left = timeout; left > 0; left = end - Date.now()) {
		abort?.throwIfAborted();
		const found = await listeners(transport, port, passes, Math.min(left, PORT_SLICE));

		if (found)
			return found;
		over();
		await new Promise((resolve) => setTimeout(resolve, Math.min(PORT_DELAY, Math.max(0, end - Date.now()))));
	}
	throw new WaitError("TIMEOUT", `nothing listened on port ${port} within ${timeout} ms`);
}

/** Made by startProcess and attach. It reads the output all the time, so that the command is never held back. */
export class Process {
	#transport;
	#tails = { stdout: "", stderr: "" };
	#waiters = new Set();
	#events;
	#stdin;
	#ended = null;

	/** attached: it is somebody else's, who may have written to it, and whom a failure here does not concern. */
	constructor(transport, start, events, { onOutput, maxOutput = TAIL, attached = false }) {
		this.#transport = transport;
		this.#events = events;
		this.#stdin = new Stdin(transport, start.id, attached ? undefined : 0);
		this.id = start.id;
		this.context = start.context;
		this.created = start.created;
		this.pid = start.pid;
		this.startedAt = start.startedAt;
		this.warnings = start.warnings;
		/** The result, when the process has ended. */
		this.exited = this.#follow(start, new Collector(maxOutput), onOutput, attached);
		this.exited.then((result) => this.#end(result), (error) => this.#end(null, error));
	}

	async #follow(start, collector, onOutput, attached) {
		collector.add(start);
		try {
			for await (const event of this.#events) {
				if (event.type === "exit")
					return collector.result(event);
				collector.add(event);
				if (event.type === "gap")
					continue;
				this.#tails[event.type] = (this.#tails[event.type] + event.text).slice(-TAIL);
				for (const waiter of this.#waiters)
					waiter.look();
				await onOutput?.(event.type, event.text, event.data);
			}
		} catch (error) {
			await giveUp(this.#transport, collector, error, attached);
			throw error;
		}
	}

	#end(result, error) {
		this.#ended = { result, error };
		for (const waiter of this.#waiters)
			waiter.end(this.#ended);
	}

	#throwIfEnded(what) {
		if (this.#ended?.error)
			throw this.#ended.error;
		if (this.#ended) {
			const { result } = this.#ended;

			throw new WaitError("PROCESS_ENDED", `the process ended ${what}: status ${result.exitCode}`, result);
		}
	}

	#find(pattern) {
		for (const stream of ["stdout", "stderr"]) {
			const text = this.#tails[stream];
			const match = typeof pattern === "string" ? text.includes(pattern) && [pattern] :
				new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")).exec(text);

			if (match)
				return { stream, match };
		}
		return null;
	}

	/**
	 * Resolves when a text, or what a pattern matches, is in what it has written: {stream, match}.
	 * Throws a WaitError when that is not so in time, or the process ends without it.
	 */
	waitForOutput(pattern, { timeout = 30000, signal } = {}) {
		return new Promise((resolve, reject) => {
			const done = (settle, value) => {
				clearTimeout(timer);
				signal?.removeEventListener("abort", onAbort);
				this.#waiters.delete(waiter);
				settle(value);
			};
			const waiter = {
				look: () => {
					const found = this.#find(pattern);

					if (found)
						done(resolve, found);
					return found;
				},
				end: ({ result, error }) => waiter.look() || done(reject, error ?? new WaitError(
					"PROCESS_ENDED", `the process ended without it: status ${result.exitCode}`, result)),
			};
			const onAbort = () => done(reject, signal.reason);
			const timer = setTimeout(() => done(reject,
				new WaitError("TIMEOUT", `no such output within ${timeout} ms`)), timeout);

			this.#waiters.add(waiter);
			if (signal?.aborted)
				onAbort();
			else if (this.#ended)
				waiter.end(this.#ended);
			else if (!waiter.look())
				signal?.addEventListener("abort", onAbort, { once: true });
		});
	}

	/** Resolves when it listens on a port, or what it has started does: the listeners. Throws a WaitError as waitForOutput does. */
	async waitForPort(port, options = {}) {
		return waitForPort(this.#transport, port, options, ({ id }) => id === this.id,
			() => this.#throwIfEnded(`and did not listen on port ${port}`));
	}

	/** Its result, when it has ended; a WaitError after `timeout` milliseconds. tree: when nothing is left that it has started, either. */
	async wait({ timeout, tree = false } = {}) {
		const late = new WaitError("TIMEOUT", `the process did not end within ${timeout} ms`);
		const body = { for: "tree", ...(timeout !== undefined && { timeoutMs: timeout }) };
		let timer;

		if (tree && !(await this.#transport.upload("POST", `${processPath(this.id)}/wait`, body)).met)
			throw late;
		if (tree || timeout === undefined)
			return this.exited;
		return Promise.race([this.exited, new Promise((_resolve, reject) => {
			timer = setTimeout(() => reject(late), timeout);
		})]).finally(() => clearTimeout(timer));
	}

	/** Writes to its standard input, which was opened by stdinOpen or tty; resolves when its pipe has taken all of it. */
	async write(data) {
		return this.#stdin.write(data);
	}

	/** The end of its standard input. */
	async closeStdin() {
		return this.#stdin.close();
	}

	/** The size of its terminal from now on. */
	async resize({ rows, cols }) {
		return this.#transport.json("POST", `${processPath(this.id)}/resize`, { rows, cols });
	}

	/** Sends a signal to its process group: "TERM", "SIGTERM" or 15; to: "main", to itself, or "tree", to all that it has started. */
	async signal(number, options) {
		return signal(this.#transport, this.id, number, options);
	}

	/** Ends it and everything that it has started; false when nothing was left. */
	async kill() {
		return kill(this.#transport, this.id);
	}

	/** What the agent knows of it. */
	async status() {
		return this.#transport.json("GET", processPath(this.id));
	}
}

/** Starts a command; resolves when it runs. */
export async function startProcess(transport, context, given, options) {
	const { onOutput, maxOutput, ...rest } = options;
	const events = execStream(transport, context, given, rest);
	const first = await events.next();

	return new Process(transport, first.value, events, { onOutput, maxOutput });
}

/** A command that runs or has ended, whoever started it. */
export async function attach(transport, id, { since, allowGaps, onOutput, maxOutput }) {
	const events = followStream(transport, id, { since, allowGaps });
	const first = await events.next();

	return new Process(transport, first.value, events, { onOutput, maxOutput, attached: true });
}
