// SPDX-License-Identifier: Apache-2.0
// HTTP over the agent's unix socket: one connection for each request, so that none is sent over one that
// is closing.
import http from "node:http";

import { ApiError, ConnectionError } from "./errors.js";

const NDJSON = "application/x-ndjson";

function lost(error, socketPath, sent) {
	const code = sent ? "CONNECTION_LOST" : "CANNOT_CONNECT";
	const what = sent ? "the connection to the agent was lost" : `cannot connect to ${socketPath}`;

	return error instanceof ConnectionError ? error :
		new ConnectionError(code, `${what}: ${error.message || error.code}`, { errno: error.code },
			{ cause: error });
}

/** The body of an error is the agent's object; what is not HTTP's or not JSON comes from something else. */
function refusal(status, text) {
	try {
		const body = JSON.parse(text);

		if (typeof body?.code === "string")
			return new ApiError(status, body);
	} catch {
		// falls through
	}
	return new ConnectionError("NO_ANSWER", `not an answer of the agent's: HTTP ${status}`, { status });
}

/** What is sent as the body: {headers} with bytes, or with pieces. */
function contentOf(body) {
	if (body === undefined)
		return undefined;
	if (body instanceof Uint8Array || body[Symbol.asyncIterator] || body[Symbol.iterator]) {
		const whole = body instanceof Uint8Array;

		return { headers: { "content-type": "application/octet-stream", ...(whole && { "content-length": body.byteLength }) },
			...(whole ? { bytes: body } : { pieces: body }) };
	}
	const text = JSON.stringify(body);

	return { headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) }, bytes: text };
}

/** Sends pieces as fast as they are taken. A source that fails cuts the request off, so that nothing comes of it. */
async function sendPieces(request, pieces) {
	let wake = null;

	for (const event of ["drain", "response", "error", "close"])
		request.on(event, () => wake?.());
	try {
		for await (const piece of pieces) {
			if (request.answered || request.destroyed)
				return;
			if (!(typeof piece === "string" || piece instanceof Uint8Array))
				throw new TypeError(`a piece is neither a string nor a Uint8Array, but ${typeof piece}`);
			if (!request.write(piece))
				await new Promise((resolve) => (wake = resolve));
		}
		request.end();
	} catch (error) {
		request.destroy();
		throw error;
	}
}

/** Of a command. */
export function processPath(id) {
	return `/v1/processes/${encodeURIComponent(id)}`;
}

export class Transport {
	/** timeout: milliseconds that an answer may take that is no stream. */
	constructor(socketPath, timeout) {
		this.socketPath = socketPath;
		this.timeout = timeout;
	}

	/**
	 * Sends a request; the response, when its head has come. body: an object; bytes; or an iterator of pieces of them. timeout 0: as
	 * long as it takes.
	 */
	_send(method, path, { body, accept, range, timeout = 0 }) {
		return new Promise((resolve, reject) => {
			const content = contentOf(body);
			const headers = { accept: accept ?? "application/json", ...content?.headers, ...(range && { range }) };
			let sent = false;

			const request = http.request({ socketPath: this.socketPath, method, path, headers, agent: false });
			const timer = timeout && setTimeout(() => request.destroy(
				new ConnectionError("NO_ANSWER", `the agent did not answer within ${timeout} ms`)), timeout);

			request.on("socket", (socket) => socket.on?.("connect", () => (sent = true)));
			request.on("response", (response) => {
				sent = request.answered = true;
				response.once("close", () => clearTimeout(timer));
				resolve(response);
			});
			request.on("error", (error) => {
				clearTimeout(timer);
				reject(lost(error, this.socketPath, sent || !["ENOENT", "ECONNREFUSED", "EACCES", "FailedToOpenSocket"]
					.includes(error.code)));
			});
			if (content?.pieces)
				sendPieces(request, content.pieces).catch((error) => reject(error));
			else
				request.end(content?.bytes);
		});
	}

	async #text(response) {
		const pieces = [];

		try {
			for await (const piece of response)
				pieces.push(piece);
		} catch (error) {
			throw lost(error, this.socketPath, true);
		}
		if (!response.complete)
			throw new ConnectionError("CONNECTION_LOST", "the answer of the agent was cut off");
		return Buffer.concat(pieces).toString();
	}

	/** A request with one answer, as text. */
	async text(method, path, body) {
		return this.#whole(await this._send(method, path, { body, timeout: this.timeout }));
	}

	/** The same, as an object. */
	async json(method, path, body) {
		return JSON.parse(await this.text(method, path, body));
	}

	/** A request that may take as long as it takes: body as a Uint8Array, or as an iterator of pieces. */
	async upload(method, path, body) {
		return JSON.parse(await this.#whole(await this._send(method, path, { body })));
	}

	async #whole(response) {
		const text = await this.#text(response);

		if (response.statusCode >= 300)
			throw refusal(response.statusCode, text);
		return text;
	}

	/** A request whose answer is a stream: resolves when it begins. What is not read is not sent. */
	async open(method, path, body, { accept = NDJSON, range } = {}) {
		const response = await this._send(method, path, { body, accept, range });

		if (response.statusCode >= 300)
			throw refusal(response.statusCode, await this.#text(response));
		return response;
	}
}

/** Makes the context that its requests are for, where it is not there. */
export class CreatingTransport extends Transport {
	#name;

	constructor({ socketPath, timeout }, name) {
		super(socketPath, timeout);
		this.#name = name;
	}

	async #create() {
		try {
			await super.json("POST", "/v1/contexts", { name: this.#name });
		} catch (error) {
			if (error.code !== "CONTEXT_EXISTS") // by somebody else, meanwhile
				throw error;
		}
	}

	async #made(ask) {
		try {
			return await ask();
		} catch (error) {
			if (error.code !== "NO_SUCH_CONTEXT")
				throw error;
			await this.#create();
			return ask();
		}
	}

	async json(method, path, body) {
		return this.#made(() => super.json(method, path, body));
	}

	async open(method, path, body, options) {
		return this.#made(() => super.open(method, path, body, options));
	}

	/** Pieces come once: the context is asked for first. */
	async upload(method, path, body) {
		await this.#made(() => super.json("GET", `/v1/contexts/${this.#name}`));
		return super.upload(method, path, body);
	}
}

/** The pieces of a stream as they come. silence: after so many milliseconds without one it is given up. */
async function* pieces(response, silence) {
	const iterator = response[Symbol.asyncIterator]();

	for (;;) {
		const timer = silence && setTimeout(() => response.destroy(), silence);
		const { done, value } = await iterator.next().finally(() => clearTimeout(timer));

		if (done)
			return;
		yield value;
	}
}

/** The bytes of a stream that has to be whole. */
export async function* contents(response) {
	try {
		yield* pieces(response, 0);
	} catch (error) {
		throw new ConnectionError("CONNECTION_LOST", "the content was cut off", {}, { cause: error });
	} finally {
		response.destroy();
	}
	if (!response.complete)
		throw new ConnectionError("CONNECTION_LOST", "the content was cut off");
}

/**
 * The lines of a stream, as objects. Ends with the connection, however that ended: whether the stream is
 * whole is told by its records. What is behind the last line end was cut off, and is no record.
 */
export async function* records(response, silence = 0) {
	let parts = [];

	try {
		for await (const piece of pieces(response, silence)) {
			let begin = 0;

			for (let end; (end = piece.indexOf(10, begin)) >= 0; begin = end + 1) {
				parts.push(piece.subarray(begin, end));
				yield JSON.parse(Buffer.concat(parts).toString());
				parts = [];
			}
			if (begin < piece.length)
				parts.push(piece.subarray(begin));
		}
	} catch (error) {
		if (error instanceof SyntaxError)
			throw new ConnectionError("NO_ANSWER", "not a record of the agent's", {}, { cause: error });
	} finally {
		response.destroy();
	}
}
