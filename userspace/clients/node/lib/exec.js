// SPDX-License-Identifier: Apache-2.0
// Running a command: the request, the stream that answers it, the result.
import { Command, command } from "./command.js";
import { ConnectionError, StreamError } from "./errors.js";
import { processPath, records } from "./transport.js";

/** Of each stream of output, how many bytes a result keeps unless it is told otherwise. */
export const MAX_OUTPUT = 16 << 20;

export const STREAM_OPTIONS = [
	"env", "cwd", "timeout", "outputLimit", "killSignal", "killAfter", "stdin", "stdinAs", "tty", "rows", "cols", "sessionId", "isolated", "signal",
	"onUnsupported", "allowGaps", "id",
];

/** Before each attempt to go on with a stream whose connection was lost: milliseconds. */
const DELAYS = [0, 100, 500, 2000];

/** The agent says every 15 seconds that it is there: who misses that three times has lost it. */
const SILENCE = 45000;
export const EXEC_OPTIONS = [...STREAM_OPTIONS, "onOutput", "maxOutput"];
export const PROCESS_OPTIONS = [...EXEC_OPTIONS, "stdinOpen"];

/** An option that is misspelt may be the one that keeps a secret. */
export function checkOptions(options, known) {
	if (options === null || typeof options !== "object")
		throw new TypeError("options are an object");
	for (const name of Object.keys(options)) {
		if (!known.includes(name))
			throw new TypeError(`there is no option ${name}; there are ${known.join(", ")}`);
	}
	return options;
}

function isBytes(value) {
	return value instanceof Uint8Array;
}

/** Bytes without a copy. */
export function bufferOf({ buffer, byteOffset, byteLength }) {
	return Buffer.from(buffer, byteOffset, byteLength);
}

/** Bytes, as the API takes them where it takes a string. */
function textOrBytes(value, what) {
	if (isBytes(value))
		return { base64: bufferOf(value).toString("base64") };
	if (typeof value !== "string")
		throw new TypeError(`${what} is neither a string nor a Uint8Array, but ${typeof value}`);
	return value;
}

/** Undefined is no value: JSON would leave the variable out, and the command would not run apart. */
export function environment(variables, mayBeNull = false) {
	const body = {};

	for (const [name, value] of Object.entries(variables))
		body[name] = mayBeNull && value === null ? null : textOrBytes(value, `the variable ${name}`);
	return body;
}

/** A string, an argv, a Command, or the parts of a template with its values. */
function commandFields(given) {
	if (typeof given === "string")
		return { command: given };
	if (given instanceof Command)
		return { command: given.text };
	if (!Array.isArray(given))
		throw new TypeError("a command is a string, an array of arguments or a template");
	return { argv: given.map((each, i) => textOrBytes(each, `argument ${i}`)) };
}

function stdinFields(stdin) {
	const value = textOrBytes(stdin, "stdin");

	return isBytes(stdin) ? { stdin: value.base64, stdinEncoding: "base64" } : { stdin: value };
}

/** The body of POST /v1/exec. context: a name; null: that of the options' sessionId, or default. */
export function execBody(context, given, options) {
	const { env, cwd, timeout, outputLimit, killSignal, killAfter, stdin, stdinAs, stdinOpen, tty, rows, cols, sessionId, isolated } = options;

	return {
		...commandFields(given),
		...shellFields(given, options.onUnsupported),
		...(context !== null && { context }),
		...(sessionId !== undefined && { session: sessionId }),
		...(env !== undefined && { env: environment(env) }),
		...(cwd !== undefined && { cwd }),
		...(timeout !== undefined && { timeoutMs: timeout }),
		...(outputLimit !== undefined && { outputLimit }),
		...(killSignal !== undefined && { killSignal }),
		...(killAfter !== undefined && { killAfterMs: killAfter }),
		...(stdin !== undefined && stdinFields(stdin)),
		...(stdinAs !== undefined && { stdinAs }),
		...(stdinOpen !== undefined && { stdinOpen }),
		...(tty !== undefined && { tty }),
		...(rows !== undefined && { rows }),
		...(cols !== undefined && { cols }),
		...(isolated !== undefined && { isolated }),
	};
}

export function isTemplate(given) {
	return Array.isArray(given) && Object.hasOwn(given, "raw");
}

/** [command, options] of the arguments of exec and its like, which are tags of templates as well. */
export function execArguments(args, known) {
	if (isTemplate(args[0]))
		return [command(...args), {}];
	return [args[0], checkOptions(args[1] ?? {}, known)];
}

/** What becomes of a string that goes beyond the language: of one without an answer, what its context says. */
function shellFields(given, policy) {
	if (policy !== undefined && policy !== "error" && policy !== "bash")
		throw new TypeError('onUnsupported is "error" or "bash"');
	// What a value means between a shell's quotes is the shell's affair.
	if (given instanceof Command && given.hasValues)
		return { shell: "never" };
	if (policy === undefined || !(typeof given === "string" || given instanceof Command))
		return {};
	return { shell: policy === "bash" ? "fallback" : "never" };
}

function sleep(delay) {
	return new Promise((resolve) => setTimeout(resolve, delay));
}

/**
 * Sends a command. With an id of its own, and the life of the agent that it is meant for, it can be sent again when the answer is
 * lost: it runs once.
 */
async function post(transport, context, given, options) {
	const { id } = options, body = execBody(context, given, options);
	const open = () => transport.open("POST", "/v1/exec", body);

	if (id === undefined)
		return { response: await open(), repeat: null };
	Object.assign(body, { id, instance: (await transport.json("GET", "/v1/health")).instance });
	try {
		return { response: await open(), repeat: open };
	} catch (error) {
		if (!(error instanceof ConnectionError) || error.code === "CANNOT_CONNECT")
			throw error;
		return { response: null, repeat: open };
	}
}

/** Ends everything that a command has started. Whether there was something left. */
export async function kill(transport, id) {
	return (await transport.json("DELETE", processPath(id))).killed;
}

/**
 * While a command runs its signal kills it, with all that it has started. A signal that comes before the
 * command has an id waits for that: whoever gave up earlier would not know whether it runs.
 */
class Abort {
	#transport;
	#signal;
	#id = null;
	#failure = null;
	#onAbort = () => this.#kill();

	constructor(transport, signal) {
		this.#transport = transport;
		this.#signal = signal;
		signal?.throwIfAborted();
	}

	#kill() {
		kill(this.#transport, this.#id).catch((error) => {
			this.#failure = error;
			this.onFailure();
		});
	}

	/** It runs. onFailure: it cannot be killed. */
	started(id, onFailure) {
		this.#id = id;
		this.onFailure = onFailure;
		if (this.#signal?.aborted)
			this.#kill();
		else
			this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
	}

	/** Throws when the end was the signal's doing. */
	check() {
		if (this.#failure)
			throw this.#failure;
		this.#signal?.throwIfAborted();
	}

	close() {
		this.#signal?.removeEventListener("abort", this.#onAbort);
	}
}

/** The first record and the last one, as they are given to the caller. */
function startEvent({ id, context, created, pid, startedAt, instance, warnings = [] }) {
	return { type: "start", id, context, created, pid, startedAt, instance, warnings };
}

function exitEvent({ seq: _, at: __, bytes: ___, warnings = [], interpreter = null, ...record }) {
	return { ...record, warnings, interpreter };
}

function outputEvent({ type, bytes }, decoders) {
	return { type, data: bytes, text: decoders[type].decode(bytes, { stream: true }) };
}

/** What the agent did not keep, because nobody took it. */
function gapEvent({ lost, stdout = null, stderr = null }, id, allowed) {
	if (!allowed)
		throw new StreamError("OUTPUT_LOST", `${lost} bytes of output are lost: they were not read in time`, id);
	return { type: "gap", lost, stdout, stderr };
}

/** What the decoders still hold: the beginning of a character that never came whole. */
function* rests(decoders) {
	for (const type of ["stdout", "stderr"]) {
		const text = decoders[type].decode();

		if (text)
			yield { type, data: Buffer.alloc(0), text };
	}
}

function newDecoders() {
	const decoder = () => new TextDecoder("utf-8", { ignoreBOM: true }); // which leaves it where it is

	return { stdout: decoder(), stderr: decoder() };
}

/** The stream of a command that runs, or has ended, from a byte on. */
function output(transport, id, since) {
	return transport.open("GET", `${processPath(id)}/events?since=${since}`);
}

/** The same, from the byte on that was not seen; null: there is none to be had. */
async function reopen(transport, { repeat }, start, at) {
	try {
		return await (start ? output(transport, start.id, at) : repeat());
	} catch (error) {
		if (error instanceof ConnectionError)
			return null;
		if (!start)
			throw error;
		throw new StreamError("STREAM_CUT", `the connection was lost, and: ${error.message}`, start.id, { cause: error });
	}
}

/** The records of a command: when the connection is lost they go on over another one where they stopped. */
async function* allRecords(transport, connection) {
	let start = null, at = connection.since ?? 0, failures = 0;

	do {
		for await (const record of connection.response ? records(connection.response, SILENCE) : []) {
			if (record.type === "start") {
				if (start && start.instance !== record.instance)
					return;
				if (!start)
					yield record;
				start = record;
			} else if (record.type !== "beat") {
				record.bytes = Buffer.from(record.data ?? "", record.encoding === "base64" ? "base64" : "utf8");
				at = record.at + record.bytes.length;
				failures = 0;
				yield record;
			}
			if (record.type === "exit")
				return;
		}
		if (failures === DELAYS.length || !(start || connection.repeat))
			return;
		await sleep(DELAYS[failures++]);
		connection.response = await reopen(transport, connection, start, at);
	} while (true);
}

async function* events(transport, connection, abort, allowGaps) {
	const decoders = newDecoders();
	let id = null;

	for await (const record of allRecords(transport, connection)) {
		if (record.type === "start") {
			id = record.id;
			abort.started(id, () => connection.response?.destroy());
			yield startEvent(record);
		} else if (record.type === "stdout" || record.type === "stderr") {
			yield outputEvent(record, decoders);
		} else if (record.type === "gap") {
			yield gapEvent(record, id, allowGaps);
		} else if (record.type === "exit") {
			abort.check();
			yield* rests(decoders);
			yield exitEvent(record);
			return;
		}
	}
	abort.check();
	if (id === null)
		throw new ConnectionError("CONNECTION_LOST", "the connection was lost before the command was known to run");
	throw new StreamError("STREAM_CUT", "the connection ended before the command's last record", id);
}

/**
 * Runs a command; the records of its stream: one start, output as it comes, one exit. Who reads slowly
 * holds the command back for a while, and who stops reading leaves it running.
 */
export async function* execStream(transport, context, given, options) {
	const abort = new Abort(transport, options.signal);

	try {
		yield* events(transport, await post(transport, context, given, options), abort, options.allowGaps);
	} finally {
		abort.close();
	}
}

/** The records of a command that was started by somebody, from a byte of its output on; as those of execStream. */
export async function* followStream(transport, id, { since = 0, allowGaps }) {
	const connection = { response: await output(transport, id, since), repeat: null, since };

	yield* events(transport, connection, new Abort(transport), allowGaps);
}

/** The first bytes of a stream, and how many there were. */
class Kept {
	#pieces = [];
	#size = 0;

	constructor(max) {
		this.max = max;
	}

	add(data) {
		const piece = data.subarray(0, this.max - this.#size);

		if (piece.length)
			this.#pieces.push(piece);
		this.#size += piece.length;
		return piece.length === data.length;
	}

	bytes() {
		return Buffer.concat(this.#pieces);
	}
}

/** What is kept of a command while it runs, and becomes its result. */
export class Collector {
	#kept;
	#cut = false;
	#start = null;

	constructor(max = MAX_OUTPUT) {
		if (!Number.isSafeInteger(max) || max < 0)
			throw new TypeError("maxOutput is a number of bytes");
		this.#kept = { stdout: new Kept(max), stderr: new Kept(max) };
	}

	add(event) {
		if (event.type === "start")
			this.#start = event;
		else if (event.type === "gap")
			this.#cut = true;
		else if (!this.#kept[event.type].add(event.data))
			this.#cut = true;
	}

	get id() {
		return this.#start?.id ?? null;
	}

	raw() {
		return { stdout: this.#kept.stdout.bytes(), stderr: this.#kept.stderr.bytes() };
	}

	/** exit: the last event. */
	result({ type: _, ...exit }) {
		const raw = this.raw();

		return {
			...exit,
			truncated: exit.truncated || this.#cut,
			stdout: raw.stdout.toString(),
			stderr: raw.stderr.toString(),
			raw,
			ok: exit.exitCode === 0,
			instance: this.#start.instance,
			warnings: [...this.#start.warnings, ...exit.warnings],
		};
	}
}

/** What a failure leaves behind: nothing, where the agent can still be asked; what is not ours is left alone. */
export async function giveUp(transport, collector, error, attached = false) {
	if (error instanceof StreamError)
		error.raw = collector.raw();
	else if (!(error instanceof ConnectionError) && collector.id && !attached)
		await kill(transport, collector.id).catch(() => {}); // the first failure is the one to tell
}

/** Runs a command to its end: the result. */
export async function exec(transport, context, given, options) {
	const { onOutput, maxOutput, ...rest } = options;
	const collector = new Collector(maxOutput);

	try {
		for await (const event of execStream(transport, context, given, rest)) {
			if (event.type === "exit")
				return collector.result(event);
			collector.add(event);
			if (event.type === "stdout" || event.type === "stderr")
				await onOutput?.(event.type, event.text, event.data);
		}
	} catch (error) {
		await giveUp(transport, collector, error);
		throw error;
	}
}
