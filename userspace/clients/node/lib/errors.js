// SPDX-License-Identifier: Apache-2.0
// What can go wrong, as classes. A command that ends with another status than 0 is no error but a result.

/** The class of all. code is stable; details has what is known beside it. */
export class MoatError extends Error {
	constructor(code, message, details = {}, options = undefined) {
		super(message, options);
		this.name = new.target.name;
		this.code = code;
		this.details = details;
	}
}

/** The agent refused a request: code, message and details are its own (moat-api(7)), status is HTTP's. */
export class ApiError extends MoatError {
	constructor(status, { code, message, details }) {
		super(code, message, details);
		this.status = status;
	}
}

/** CANNOT_CONNECT: nothing was sent. CONNECTION_LOST, NO_ANSWER: it may have been done all the same. */
export class ConnectionError extends MoatError {}

/**
 * A stream ended without its last record: STREAM_CUT. How the command ended is not known, and it may
 * still run: see its id, when it had one. raw is the output that came before.
 */
export class StreamError extends MoatError {
	constructor(message, id = null, raw = null, options = undefined) {
		super("STREAM_CUT", message, {}, options);
		this.id = id;
		this.raw = raw;
	}
}

/** What was waited for did not come: TIMEOUT, or PROCESS_ENDED with the result of the process. */
export class WaitError extends MoatError {
	constructor(code, message, result = null) {
		super(code, message);
		this.result = result;
	}
}
