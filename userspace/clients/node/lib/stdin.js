// SPDX-License-Identifier: Apache-2.0
// The standard input of a command, written piece by piece.
import { ConnectionError } from "./errors.js";
import { bufferOf } from "./exec.js";
import { processPath } from "./transport.js";

/** The agent takes 2 MiB at once. */
const PIECE = 1 << 20;
const ATTEMPTS = 4;

/**
 * Each byte arrives once, in order. Where an answer is lost the bytes are sent again for the place where they have to be; that is known
 * for a single writer, from the beginning or its first answer on. Otherwise the lost connection is the error.
 */
export class Stdin {
	#transport;
	#path;
	#offset;
	#alone = true;
	#last = Promise.resolve();

	/** offset: how many bytes were written before; undefined where that is not known. */
	constructor(transport, id, offset) {
		this.#transport = transport;
		this.#path = `${processPath(id)}/stdin`;
		this.#offset = offset;
	}

	/** Resolves when the command's pipe has taken all of it. */
	write(data) {
		if (typeof data !== "string" && !(data instanceof Uint8Array))
			throw new TypeError("what is written is a string or a Uint8Array");
		const bytes = typeof data === "string" ? Buffer.from(data) : bufferOf(data);

		return this.#behind(async () => {
			for (let at = 0; at < bytes.length; at += PIECE)
				await this.#send(bytes.subarray(at, at + PIECE), false);
		});
	}

	close() {
		return this.#behind(() => this.#send(Buffer.alloc(0), true));
	}

	/** Behind what is being written. Behind what failed nothing is written any more. */
	#behind(write) {
		const done = this.#last.then(write);

		this.#last = done;
		done.catch(() => {}); // the one who waits for it is told
		return done;
	}

	async #send(piece, close) {
		const known = this.#offset !== undefined;

		for (let attempt = 1; ; attempt++) {
			const query = [attempt > 1 && `offset=${this.#offset}`, close && "close"].filter(Boolean).join("&");

			try {
				const { offset } = await this.#transport.upload("POST", query ? `${this.#path}?${query}` : this.#path, piece);

				// What others write beside it makes its place unknown, for good.
				this.#alone &&= !known || offset === this.#offset + piece.length;
				this.#offset = this.#alone ? offset : undefined;
				return;
			} catch (error) {
				if (close && attempt > 1 && error.code === "STDIN_CLOSED") // by the attempt before
					return;
				if (!(error instanceof ConnectionError) || !known || attempt === ATTEMPTS)
					throw error;
			}
		}
	}
}
