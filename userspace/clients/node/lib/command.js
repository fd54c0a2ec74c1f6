// SPDX-License-Identifier: Apache-2.0
// Values in command strings: each is one word, whatever it contains.

/** One word of the command language that stands for exactly this text. */
export function quote(text) {
	if (typeof text !== "string")
		throw new TypeError("quote() takes a string");
	if (text.includes("\0"))
		throw new TypeError("a word cannot have a NUL in it");
	// Always: 2 before > would be a descriptor, and "if" a keyword.
	return `'${text.replaceAll("'", "'\\''")}'`;
}

function word(value) {
	if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean")
		return quote(String(value));
	if (typeof value !== "string")
		throw new TypeError(`a value in a command is a string or a number, not ${typeof value}`);
	return quote(value);
}

/** A command string that was made of a template. hasValues: it is never given to a shell. */
export class Command {
	constructor(text, hasValues) {
		this.text = text;
		this.hasValues = hasValues;
		Object.freeze(this);
	}

	toString() {
		return this.text;
	}
}

// What quotes a place is between.
const OUTSIDE = "", DOUBLE = '"', SINGLE = "'";

// Where a word cannot be put in, by what has begun there.
const REFUSED = [
	[/^\$\(|^`/, [OUTSIDE, DOUBLE], "a substitution"],
	[/^\$\{/, [OUTSIDE, DOUBLE], "${…}"],
	[/^\$['"]/, [OUTSIDE], "$'…'"],
	[/^[<>]\(/, [OUTSIDE], "<(…)"],
	[/^<<(?!<)/, [OUTSIDE], "a here-document"],
	[/^#/, [OUTSIDE], "a comment"],
];

/** Follows the text between the values as the command language reads it. */
class Place {
	quotes = OUTSIDE;
	refused = null; // why no value can follow

	/** Takes a piece of text. atStart: a word may begin with it. */
	take(text, atStart) {
		for (let i = 0; i < text.length; i++) {
			const rest = text.slice(i), c = text[i];
			const starts = i > 0 ? /[\s;&|()<>]/.test(text[i - 1]) : atStart;
			const row = REFUSED.find(([begin, where, what]) => where.includes(this.quotes) &&
				begin.test(rest) && (what !== "a comment" || starts));

			if (row)
				this.refused ??= row[2];
			if (this.quotes === SINGLE) {
				this.quotes = c === "'" ? OUTSIDE : SINGLE;
			} else if (c === "\\") {
				i++;
				if (i === text.length)
					this.refused ??= "a backslash";
			} else if (rest.startsWith("<<<") && this.quotes === OUTSIDE) {
				i += 2;
			} else if (c === '"') {
				this.quotes = this.quotes === DOUBLE ? OUTSIDE : DOUBLE;
			} else if (c === "'" && this.quotes === OUTSIDE) {
				this.quotes = SINGLE;
			}
		}
		if (this.quotes === OUTSIDE && text.endsWith("$"))
			this.refused ??= "a $";
	}
}

/**
 * A tag for templates: command`git clone ${url} && ls`. Each value is one word, or a part of the one
 * that it stands in; also between quotes. Where that cannot be, as in a substitution, a here-document or
 * a comment, it is a TypeError.
 */
export function command(strings, ...values) {
	const place = new Place();
	let text = "";

	if (!Array.isArray(strings?.raw))
		throw new TypeError("command is a tag of templates: command`ls ${directory}`");
	strings.forEach((part, i) => {
		if (part === undefined)
			throw new TypeError("the template has an escape that is none");
		place.take(part, i === 0);
		text += part;
		if (i >= values.length)
			return;
		if (place.refused)
			throw new TypeError(`no value can stand in or behind ${place.refused}`);
		text += place.quotes + word(values[i]) + place.quotes;
	});
	return new Command(text, values.length > 0);
}
