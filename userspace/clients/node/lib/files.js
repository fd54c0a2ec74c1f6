// SPDX-License-Identifier: Apache-2.0
// The files of a context, with the rights of its commands. What is read there is a program's word, not to be obeyed.
import { MoatError } from "./errors.js";
import { bufferOf, checkOptions } from "./exec.js";
import { contents } from "./transport.js";

/** What read() takes into memory, unless it is told otherwise: the file is user code's. */
const MAX_BYTES = 64 << 20;

const RANGE_OPTIONS = ["offset", "length"];
const WRITE_OPTIONS = ["mode", "mkdirs", "atomic", "ifAbsent", "ifMatch"];

/** A path is text, or bytes that are none. */
function escape(path) {
	if (path instanceof Uint8Array)
		return [...path].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
	if (typeof path !== "string")
		throw new TypeError(`a path is a string or a Uint8Array, not ${typeof path}`);
	return encodeURIComponent(path);
}

function rangeOf({ offset = 0, length }) {
	if (offset === 0 && length === undefined)
		return undefined;
	if (!Number.isSafeInteger(offset) || offset < 0 || length !== undefined && (!Number.isSafeInteger(length) || length < 1))
		throw new TypeError("offset and length are numbers of bytes, and length is not 0");
	return `bytes=${offset}-${length === undefined ? "" : offset + length - 1}`;
}

function textOf(bytes, path) {
	try {
		return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch {
		throw new MoatError("NOT_TEXT", `${path} is not UTF-8: read its bytes`);
	}
}

/** The query of a request: what is true stands by its name alone. */
function queryOf(parameters) {
	return Object.entries(parameters).filter(([, value]) => value !== undefined && value !== false)
		.map(([name, value]) => value === true ? `&${name}` : `&${name}=${encodeURIComponent(value)}`).join("");
}

/** Of a context: ctx.files. A path that does not begin with / is beneath its workspace, or its directory. */
export class Files {
	#transport;
	#context;

	constructor(transport, context) {
		this.#transport = transport;
		this.#context = context;
	}

	#address(path, parameters = {}) {
		return `/v1/contexts/${encodeURIComponent(this.#context)}/files?path=${escape(path)}${queryOf(parameters)}`;
	}

	#ask(path, parameters) {
		return this.#transport.json("GET", this.#address(path, parameters));
	}

	#do(path, op, body) {
		return this.#transport.json("POST", this.#address(path), { op, ...body });
	}

	/** The content as text; one that is not UTF-8 is refused, NOT_TEXT. */
	async read(path, options = {}) {
		return textOf(await this.readBytes(path, options), path);
	}

	async readBytes(path, options = {}) {
		const { maxBytes = MAX_BYTES, ...range } = checkOptions(options, [...RANGE_OPTIONS, "maxBytes"]);
		const pieces = [];
		let size = 0;

		for await (const piece of this.readStream(path, range)) {
			size += piece.length;
			if (size > maxBytes)
				throw new MoatError("FILE_TOO_LARGE", `${path} has more than ${maxBytes} bytes`, { limit: maxBytes });
			pieces.push(piece);
		}
		return Buffer.concat(pieces);
	}

	/** The content piece by piece, of any size. Throws where it does not come whole. */
	async *readStream(path, options = {}) {
		const range = rangeOf(checkOptions(options, RANGE_OPTIONS));

		yield* contents(await this.#transport.open("GET", this.#address(path), undefined,
			{ accept: "application/octet-stream", range }));
	}

	async #write(path, data, { mkdirs, atomic, ifAbsent, ...options }, append) {
		const address = this.#address(path, { ...options, append, ...(ifAbsent && { ifNoneMatch: "*" }),
			...(mkdirs === false && { mkdirs: "false" }), ...(atomic === false && { atomic: "false" }) });
		const whole = typeof data === "string" ? Buffer.from(data) : data instanceof Uint8Array ? bufferOf(data) : data;

		if (!whole?.[Symbol.asyncIterator] && !whole?.[Symbol.iterator])
			throw new TypeError("the content is a string, a Uint8Array, or an iterator of them");
		return this.#transport.upload("PUT", address, whole);
	}

	/** Replaces the content at once, or makes the file and the directories above it. Pieces of an iterator are sent as they come. */
	async write(path, data, options = {}) {
		return this.#write(path, data, checkOptions(options, WRITE_OPTIONS), false);
	}

	/** Puts something behind the content. */
	async append(path, data, options = {}) {
		return this.#write(path, data, checkOptions(options, ["mode", "mkdirs"]), true);
	}

	/** What is in a directory: {entries, truncated}, in no order. */
	async list(path, options = {}) {
		const { recursive, limit } = checkOptions(options, ["recursive", "limit"]);

		return this.#ask(path, { list: true, recursive, limit });
	}

	/** Of a link itself, as it is. hash: sha256 of a file as well. */
	async stat(path, options = {}) {
		return this.#ask(path, { stat: true, hash: checkOptions(options, ["hash"]).hash });
	}

	async exists(path) {
		return (await this.#ask(path, { exists: true })).exists;
	}

	/** Makes a directory, and those above it; one that is there is fine then. */
	async mkdir(path, options = {}) {
		return this.#do(path, "mkdir", checkOptions(options, ["mode", "mkdirs"]));
	}

	/** Removes a file, a link or an empty directory; recursive: one that is not empty as well. */
	async remove(path, options = {}) {
		const { recursive } = checkOptions(options, ["recursive"]);

		return this.#transport.json("DELETE", this.#address(path, { recursive }));
	}

	async rename(path, to, options = {}) {
		return this.#do(path, "rename", { to, ...checkOptions(options, ["overwrite", "mkdirs"]) });
	}

	/** Replaces a text that is there exactly `count` times, once without it; otherwise nothing is changed: NOT_REPLACED. */
	async replace(path, old, text, options = {}) {
		return this.#do(path, "replace", { old, new: text, ...checkOptions(options, ["count", "ifMatch"]) });
	}
}
