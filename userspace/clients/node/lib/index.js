// SPDX-License-Identifier: Apache-2.0
// moat-client: an agent of moat over its unix socket. See index.d.ts and the README for what there is.
import { StreamError } from "./errors.js";
import { checkOptions, environment, kill } from "./exec.js";
import { attach, signal, waitForPort } from "./process.js";
import { Context, Runner, patchContext, secureExecution } from "./runner.js";
import { CreatingTransport, Transport, processPath, records } from "./transport.js";

export { Command, command, quote } from "./command.js";
export { ApiError, ConnectionError, MoatError, StreamError, WaitError } from "./errors.js";
export { Files } from "./files.js";
export { Process } from "./process.js";
export { Context };

const SOCKET = "/run/moat/moat.sock";
const OPTIONS = ["socketPath", "requestTimeout", "onUnsupported"];
const ATTACH_OPTIONS = ["since", "allowGaps", "onOutput", "maxOutput"];

/** An agent. What it runs itself runs in the context default, or in that of a session. */
export class Moat extends Runner {
	constructor(options = {}) {
		const { socketPath, requestTimeout = 60000, onUnsupported } = checkOptions(options, OPTIONS);
		const path = socketPath ?? (process.env.MOAT_SOCKET || SOCKET);

		super(new Transport(path, requestTimeout), null, { onUnsupported });
	}

	// Contexts

	/** A context that there is, or a session's: session-ID. Nothing is asked. */
	context(name) {
		return new Context(this._transport, name, this._defaults);
	}

	/** The contexts `platform`, for what has the platform's credentials, and `user`, for generated code: made by their first use. */
	get platform() {
		return this.#made("platform");
	}

	get user() {
		return this.#made("user");
	}

	#made(name) {
		return new Context(new CreatingTransport(this._transport, name), name, this._defaults);
	}

	/** Makes one: name, env, and any other key of moat.conf(5). */
	async createContext({ name, env, isolation = true, persistent = true, ...keys }) {
		if (isolation !== true || persistent !== true)
			throw new TypeError("every context is isolated and persistent: isolation and persistent can only be true");
		const body = { name, ...keys, ...(env !== undefined && { env: environment(env, true) }) };
		const info = await this._transport.json("POST", "/v1/contexts", body);

		return new Context(this._transport, info.name, this._defaults, info);
	}

	async contexts() {
		return (await this._transport.json("GET", "/v1/contexts")).contexts;
	}

	async execInContext(name, given, options) {
		return this.context(name).exec(given, options);
	}

	/** Sets variables of the context default, which later ones are made with. */
	async setEnvVars(variables) {
		return patchContext(this._transport, "default", { env: environment(variables, true) });
	}

	// Secrets

	/** Whether a command's variables really are shielded; why not, says secureExecution(). */
	async hasSecureExecution() {
		return (await this.secureExecution()).available;
	}

	/** The same with the reason: {available, reason}. */
	async secureExecution() {
		return secureExecution(this._transport);
	}

	// Processes

	async processes() {
		return (await this._transport.json("GET", "/v1/processes")).processes;
	}

	async process(id) {
		return this._transport.json("GET", processPath(id));
	}

	/** A Process of a command that somebody has started, with its output from byte `since` on. */
	async attach(id, options = {}) {
		return attach(this._transport, id, checkOptions(options, ATTACH_OPTIONS));
	}

	/** What a command has written so far; of more than a MiB of a stream, what came first and what came last. */
	async logs(id) {
		const known = await this.process(id);
		const raw = {
			stdout: Buffer.from(known.stdout, known.stdoutEncoding ?? "utf8"),
			stderr: Buffer.from(known.stderr, known.stderrEncoding ?? "utf8"),
		};
		const { stdoutBytes, stderrBytes, truncated } = known;

		return {
			stdout: raw.stdout.toString(), stderr: raw.stderr.toString(), raw,
			stdoutBytes, stderrBytes, truncated,
		};
	}

	/** Ends a command and everything that it has started; false when nothing was left. */
	async kill(id) {
		return kill(this._transport, id);
	}

	/** Sends a signal to the process group of a command: "TERM", "SIGTERM" or 15; to: "main" or "tree". */
	async signal(id, number, options) {
		return signal(this._transport, id, number, options);
	}

	// Ports

	/** What commands and services listen on. */
	async ports() {
		return (await this._transport.json("GET", "/v1/ports")).ports;
	}

	/** Resolves when something listens on a port: what does. Throws a WaitError after `timeout`. */
	async waitForPort(port, options) {
		return waitForPort(this._transport, port, options);
	}

	// The agent

	async status() {
		return this._transport.json("GET", "/v1/status");
	}

	async services() {
		return (await this._transport.json("GET", "/v1/services")).services;
	}

	/** Throws while the agent does not serve; ready: or a service is not ready; service: this one. */
	async health({ ready = false, service } = {}) {
		const query = service === undefined ? ready && "?ready" : `?service=${encodeURIComponent(service)}`;

		return this._transport.json("GET", `/v1/health${query || ""}`);
	}

	async mode() {
		return (await this._transport.json("GET", "/v1/mode")).mode;
	}

	/** "enforce" or "audit"; the mode before. */
	async setMode(mode) {
		return (await this._transport.json("PUT", "/v1/mode", { mode })).previous;
	}

	/** Counters, in the text format of Prometheus. */
	async metrics() {
		return this._transport.text("GET", "/metrics");
	}

	/** What the agent has recorded, oldest first; follow: and what it records from now on. */
	async *events({ since, follow = false, signal } = {}) {
		const query = new URLSearchParams({ ...(since !== undefined && { since }), ...(follow && { follow }) });

		signal?.throwIfAborted();
		const response = await this._transport.open("GET", `/v1/events${query.size ? `?${query}` : ""}`);
		const onAbort = () => response.destroy();

		signal?.addEventListener("abort", onAbort, { once: true });
		try {
			if (signal?.aborted)
				onAbort();
			yield* records(response);
		} finally {
			signal?.removeEventListener("abort", onAbort);
		}
		signal?.throwIfAborted();
		if (follow || !response.complete)
			throw new StreamError("STREAM_CUT", "the stream of events was cut off");
	}
}
