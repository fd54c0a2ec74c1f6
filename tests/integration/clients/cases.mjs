// SPDX-License-Identifier: Apache-2.0
// Runs the shared cases with the Node client: cases.mjs CLIENT CASES, where CASES is {cases, sockets}. Prints for each
// case a line with what came of its steps; test_clients.py compares.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [client, given] = process.argv.slice(2);
const { Moat, MoatError, quote } = await import(client.startsWith("/") ? pathToFileURL(client) : client);
const { cases, sockets } = JSON.parse(readFileSync(given, "utf8"));
const agents = Object.fromEntries(Object.entries(sockets).map(([via, socketPath]) =>
	[via, new Moat({ socketPath, requestTimeout: via === "silent" ? 500 : 600000 })]));

function value(each) {
	if (typeof each !== "object" || each === null)
		return each;
	return each.repeat ? each.repeat.repeat(each.times) : new Uint8Array(Buffer.from(each.base64, "base64"));
}

function optionsOf({ options = {} }) {
	const { timeoutMs, killAfterMs, env, stdin, ...rest } = options;

	return { ...rest, ...(timeoutMs && { timeout: timeoutMs }), ...(killAfterMs && { killAfter: killAfterMs }), ...(stdin !== undefined && { stdin: value(stdin) }),
		...(env && { env: Object.fromEntries(Object.entries(env).map(([name, text]) => [name, value(text)])) }) };
}

function commandOf({ command }) {
	return Array.isArray(command) ? command.map(value) : command;
}

function resultOf({ raw, ...result }, step) {
	if (step.digest)
		return { ...result, stdout: "", textLength: [...result.stdout].length, rawLength: raw.stdout.length,
			sha256: createHash("sha256").update(raw.stdout).digest("hex") };
	return { ...result, rawStdout: raw.stdout.toString("base64") };
}

async function exec(where, step) {
	let pieces = "", first = null;
	const begin = Date.now();
	const onOutput = async (_stream, text) => {
		first ??= Date.now() - begin;
		pieces += text;
	};
	const watched = step.pieces || step.timed;
	const result = await where.exec(commandOf(step), { ...optionsOf(step), ...(watched && { onOutput }) });

	return { ...resultOf(result, step), pieces, first: first !== null && first < Date.now() - begin - 500 ? "before" : "after" };
}

async function abort(where, step) {
	const controller = new AbortController(), reason = new Error("enough");
	let seen = "";

	try {
		await where.exec(commandOf(step), { signal: controller.signal, onOutput: (_stream, text) => {
			seen += text;
			controller.abort(reason);
		} });
	} catch (error) {
		return { aborted: error === reason, seen };
	}
	return { aborted: false, seen };
}

async function execStream(where, step) {
	const outcome = { types: [], stdout: "", stderr: "" };
	let id;

	try {
		for await (const event of where.execStream(commandOf(step), optionsOf(step))) {
			outcome.types.push(event.type);
			if (event.type === "start")
				id = event.id;
			else if (event.type === "exit")
				Object.assign(outcome, { exitCode: event.exitCode, sameId: event.id === id });
			else if (event.text !== undefined)
				outcome[event.type] += event.text;
		}
	} catch (error) {
		return { ...failure(error), seen: outcome };
	}
	return outcome;
}

async function processOf(agent, step) {
	const started = await agent.startProcess(commandOf(step));
	const outcome = {};

	try {
		await started.waitForOutput(step.waitFor, step.timeoutMs ? { timeout: step.timeoutMs } : {});
		outcome.state = (await started.status()).state;
		outcome.logs = (await agent.logs(started.id)).stdout;
		await (step.then === "kill" ? started.kill() : started.signal(step.then));
		return { ...resultOf(await started.exited, step), ...outcome };
	} finally {
		await agent.kill(started.id).catch(() => {});
	}
}

async function quoted(agent, { words }) {
	const text = `printf '%s\\0' ${words.map(quote).join(" ")}`;

	return { words: (await agent.exec(text)).stdout.split("\0").slice(0, -1) };
}

async function events(agent, { until }) {
	for await (const event of agent.events({ follow: true, since: 0 })) {
		if (Object.entries(until).every(([name, is]) => event[name] === is))
			return event;
	}
}

function timeoutOf({ timeoutMs, ...options }) {
	return { ...options, ...(timeoutMs && { timeout: timeoutMs }) };
}

/** What is done with a process, step by step; attach goes on with another handle of it. */
async function interact(where, step) {
	let handle = await where.startProcess(commandOf(step), optionsOf(step));
	const agent = agents[step.via ?? "agent"], did = [];

	for (const [name, ...args] of step.do) {
		try {
			if (name === "attach")
				handle = await agent.attach(handle.id, ...args);
			else
				did.push(await handle[name](...args.map((each) => typeof each === "object" ? each.base64 || each.repeat ? value(each) : timeoutOf(each) : each)));
		} catch (error) {
			did.push(failure(error));
		}
	}
	await handle.kill();
	return { ...resultOf(await handle.exited, step), did: did.map((each) => each?.raw ? resultOf(each, step) : each?.match?.[0] ?? each ?? null) };
}

function* repeated({ pieces, times }) {
	for (let i = 0; i < times; i++)
		yield value(pieces);
}

async function* sizes(stream) {
	for await (const piece of stream)
		yield piece.length;
}

/** One of the methods of files, by its name. A value of several pieces is sent as such. */
async function files(where, { op, args, options = {} }) {
	if (op === "readStream") {
		let size = 0;
		for await (const each of sizes(where.files.readStream(...args)))
			size += each;
		return { size };
	}
	const given = args.map((each) => typeof each === "object" ? each.pieces ? repeated(each) : value(each) : each);
	const result = await where.files[op](...given, options);

	if (op === "list")
		return { ...result, entries: result.entries.map(({ path, type }) => [path, type]).sort() };
	if (typeof result !== "object")
		return { value: result };
	return result instanceof Uint8Array ? { base64: Buffer.from(result).toString("base64") } : result;
}

const calls = {
	exec, interact, files, abort, execStream, quoted, events, process: processOf,
	execSecure: async (where, step) => resultOf(await where.execSecure(commandOf(step), optionsOf(step)), step),
	ports: async (agent, { port }) => ({ has: (await agent.ports()).filter((each) => each.port === port).map(({ service }) => service) }),
	waitForPort: async (agent, { port, timeoutMs }) => ({ has: (await agent.waitForPort(port, { timeout: timeoutMs })).map(({ service }) => service) }),
	kill: async (agent, { id }) => ({ killed: await agent.kill(id) }),
	createContext: async (agent, { name, keys }) => {
		const { name: made, warnings } = await agent.createContext({ name, ...keys });

		return { name: made, warnings };
	},
	setEnv: (agent, { context, env }) => agent.context(context).setEnv(env),
	setDirectory: (agent, { context, directory }) => agent.context(context).setDirectory(directory),
	setEnvVars: (agent, { env }) => agent.setEnvVars(env),
	cd: async (agent, { context, directory }) => ({ done: await agent.context(context).cd(directory) === undefined }),
	resetState: async (agent, { context }) => ({ reset: await agent.context(context).resetState() }),
	info: (agent, { context }) => agent.context(context).info(),
	remove: (agent, { context }) => agent.context(context).remove(),
	contexts: (agent) => agent.contexts(),
	contextNames: async (agent) => ({ has: (await agent.contexts()).map(({ name }) => name) }),
	serviceNames: async (agent) => ({ has: (await agent.services()).map(({ name }) => name) }),
	secureExecution: async (agent) => {
		const { available, reason } = await agent.secureExecution();

		return { available, hasReason: typeof reason === "string", hasSecureExecution: await agent.hasSecureExecution() };
	},
	status: (agent) => agent.status(),
	health: (agent, { service }) => agent.health({ service }),
	mode: async (agent) => ({ mode: await agent.mode() }),
	metrics: async (agent) => ({ text: await agent.metrics() }),
};

function failure(error) {
	if (!(error instanceof MoatError) && !(error instanceof TypeError))
		return { error: `unexpected ${error?.stack}` };
	const { code, message, details, status, raw, id } = error;

	return { error: error.constructor.name, code, message, details, status, stdout: raw?.stdout.toString(), hasId: Boolean(id) };
}

async function run(step) {
	const agent = agents[step.via ?? "agent"];

	try {
		return await calls[step.call](step.ready ? agent[step.ready] : step.in ? agent.context(step.in) : agent, step);
	} catch (error) {
		return failure(error);
	}
}

for (const { name, steps } of cases) {
	const outcomes = [];

	for (const step of steps)
		outcomes.push(await run(step));
	console.log(JSON.stringify({ name, outcomes }));
}
