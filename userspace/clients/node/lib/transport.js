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

export class Transport {
	/** timeout: milliseconds that an answer may take that is no stream. */
	constructor(socketPath, timeout) {
		this.socketPath = socketPath;
		this.timeout = timeout;
	}

	/** Sends a request; the response, when its head has come. timeout 0: as long as it takes. */
	#send(method, path, { body, accept, timeout = 0 }) {
		return new Promise((resolve, reject) => {
			const text = body === undefined ? undefined : JSON.stringify(body);
			const headers = { accept: accept ?? "application/json" };
			let sent = false;

			if (text !== undefined) {
				headers["content-type"] = "application/json";
				headers["content-length"] = Buffer.byteLength(text);
			}
			const request = http.request({ socketPath: this.socketPath, method, path, headers, agent: false });
			const timer = timeout && setTimeout(() => request.destroy(
				new ConnectionError("NO_ANSWER", `the agent did not answer within ${timeout} ms`)), timeout);

			request.on("socket", (socket) => socket.on?.("connect", () => (sent = true)));
			request.on("response", (response) => {
				sent = true;
				response.once("close", () => clearTimeout(timer));
				resolve(response);
			});
			request.on("error", (error) => {
				clearTimeout(timer);
				reject(lost(error, this.socketPath, sent || !["ENOENT", "ECONNREFUSED", "EACCES", "FailedToOpenSocket"]
					.includes(error.code)));
			});
			request.end(text);
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
		const response = await this.#send(method, path, { body, timeout: this.timeout });
		const text = await this.#text(response);

		if (response.statusCode >= 300)
			throw refusal(response.statusCode, text);
		return text;
	}

	/** The same, as an object. */
	async json(method, path, body) {
		return JSON.parse(await this.text(method, path, body));
	}

	/** A request whose answer is a stream: resolves when it begins. What is not read is not sent. */
	async open(method, path, body) {
		const response = await this.#send(method, path, { body, accept: NDJSON });

		if (response.statusCode >= 300)
			throw refusal(response.statusCode, await this.#text(response));
		return response;
	}
}

/**
 * The lines of a stream, as objects. Ends with the connection, however that ended: whether the stream is
 * whole is told by its records. What is behind the last line end was cut off, and is no record.
 */
export async function* records(response) {
	let parts = [];

	try {
		for await (const piece of response) {
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
