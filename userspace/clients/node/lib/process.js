// SPDX-License-Identifier: Apache-2.0
// A command that goes on while its caller does something else: a server, a watcher.
import { Collector, execStream, giveUp, kill } from "./exec.js";
import { WaitError } from "./errors.js";

/** What waitForOutput can still find: characters of each stream. */
const TAIL = 1 << 20;

/** Made by startProcess. It reads the output all the time, so that the command is never held back. */
export class Process {
	#transport;
	#tails = { stdout: "", stderr: "" };
	#waiters = new Set();
	#events;
	#ended = false;

	constructor(transport, start, events, { onOutput, maxOutput }) {
		this.#transport = transport;
		this.#events = events;
		this.id = start.id;
		this.context = start.context;
		this.created = start.created;
		this.pid = start.pid;
		this.startedAt = start.startedAt;
		this.warnings = start.warnings;
		this.interpreter = start.interpreter;
		/** The result, when the process has ended. */
		this.exited = this.#follow(start, new Collector(maxOutput), onOutput);
		this.exited.then((result) => this.#end(result), (error) => this.#end(null, error));
	}

	async #follow(start, collector, onOutput) {
		collector.add(start);
		try {
			for await (const event of this.#events) {
				if (event.type === "exit")
					return collector.result(event);
				collector.add(event);
				this.#tails[event.type] = (this.#tails[event.type] + event.text).slice(-TAIL);
				for (const waiter of this.#waiters)
					waiter.look();
				await onOutput?.(event.type, event.text, event.data);
			}
		} catch (error) {
			await giveUp(this.#transport, collector, error);
			throw error;
		}
	}

	#end(result, error) {
		this.#ended = { result, error };
		for (const waiter of this.#waiters)
			waiter.end(this.#ended);
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

	/** Sends a signal to its process group: "TERM", "SIGTERM" or 15. */
	async signal(signal) {
		return this.#transport.json("POST", `/v1/processes/${encodeURIComponent(this.id)}/signal`, { signal });
	}

	/** Ends it and everything that it has started; false when nothing was left. */
	async kill() {
		return kill(this.#transport, this.id);
	}

	/** What the agent knows of it. */
	async status() {
		return this.#transport.json("GET", `/v1/processes/${encodeURIComponent(this.id)}`);
	}
}

/** Starts a command; resolves when it runs. */
export async function startProcess(transport, context, given, options) {
	const { onOutput, maxOutput, ...rest } = options;
	const events = execStream(transport, context, given, rest);
	const first = await events.next();

	return new Process(transport, first.value, events, { onOutput, maxOutput: maxOutput ?? TAIL });
}
