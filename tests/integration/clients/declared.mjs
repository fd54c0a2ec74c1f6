// SPDX-License-Identifier: Apache-2.0
// Compares what the declarations of the Node client say with what it is: declared.mjs INDEX.js INDEX.d.ts. Prints the
// differences, one a line. It reads the declarations as they are written there: a class, and in it one member on each line.
import { readFileSync } from "node:fs";

const [index, declarations] = process.argv.slice(2);
const client = await import(index);
const text = readFileSync(declarations, "utf8").replace(/\/\*\*[^]*?\*\//g, "");
const said = [];

function members(body) {
	return [...body.matchAll(/^\t(readonly |get )?(\w+)(?=[(:])/gm)].filter(([, , name]) => name !== "constructor");
}

const classes = new Map([...text.matchAll(/^(?:export|declare) class (\w+)(?: extends (\w+))? \{([^]*?)\}$/gm)]
	.map(([, name, parent, body]) => [name, { parent, fields: members(body).filter(([, field]) => field === "readonly ").map(([, , each]) => each),
		methods: [...new Set(members(body).filter(([, field]) => field !== "readonly ").map(([, , each]) => each))] }]));
const functions = [...text.matchAll(/^export function (\w+)/gm)].map(([, name]) => name);

function compare(what, declared, real) {
	for (const name of declared.filter((each) => !real.includes(each)))
		said.push(`${what}: ${name} is declared and is not there`);
	for (const name of real.filter((each) => !declared.includes(each)))
		said.push(`${what}: ${name} is there and is not declared`);
}

function methodsOf(prototype) {
	return Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor" && !name.startsWith("_"));
}

compare("the module", [...functions, ...[...classes.keys()].filter((name) => name !== "Runner")], Object.keys(client));
for (const [name, { parent, methods }] of classes) {
	const real = name === "Runner" ? Object.getPrototypeOf(client.Moat) : client[name];

	compare(name, methods, methodsOf(real.prototype));
	if (parent && parent !== "Error" && Object.getPrototypeOf(real).name !== parent)
		said.push(`${name} extends ${Object.getPrototypeOf(real).name}, not ${parent}`);
}

// An object of each class has the fields that are declared, and the records of a command those of their interfaces.
const moat = new client.Moat();
const context = await moat.createContext({ name: `declared-${process.pid}` });
const started = await context.startProcess(["sh", "-c", "echo out; sleep 0.2"]);
const result = await started.exited;
const events = [];
for await (const event of context.execStream("echo out"))
	events.push(event);
const fields = (object) => Object.keys(object).filter((name) => !name.startsWith("_"));
const refused = await moat.exec(["/nonexistent"]).catch((error) => error);

const interfaces = new Map([...text.matchAll(/^export interface (\w+)(?: extends (\w+))?[^{]*\{([^]*?)^\}$/gm)]
	.map(([, name, parent, body]) => [name, { parent,
		names: [...body.matchAll(/^\t(\w+)(\?)?:/gm)].filter(([, , maybe]) => !maybe).map(([, each]) => each),
		all: [...body.matchAll(/^\t(\w+)\??:/gm)].map(([, each]) => each) }]));
const needed = (name) => interfaces.has(name) ? [...interfaces.get(name).names, ...needed(interfaces.get(name).parent)] : [];
const inherited = (name) => classes.has(name) ? [...classes.get(name).fields, ...inherited(classes.get(name).parent)] : [];

// Of the options the client itself says which there are.
const known = async (call) => (await call({ none: 1 }).catch(({ message }) => message)).split("there are ")[1].split(", ");
const options = (name) => interfaces.has(name) ? [...interfaces.get(name).all, ...options(interfaces.get(name).parent)] : [];

compare("options of exec", options("ExecOptions"), await known((each) => moat.exec("true", each)));
compare("options of execSecure", options("SecureOptions"), await known((each) => moat.execSecure("true", each)));
compare("options of startProcess", options("ProcessOptions"), await known((each) => moat.startProcess("true", each)));
compare("options of execStream", options("StreamOptions"), await known(async (each) => moat.execStream("true", each)));
compare("options of attach", options("AttachOptions"), await known((each) => moat.attach("x0", each)));
compare("options of read", options("ReadOptions"), await known((each) => moat.files.read("/", each)));
compare("options of write", options("WriteOptions"), await known((each) => moat.files.write("/", "", each)));
compare("options of Moat", options("MoatOptions"), await known(async (each) => new client.Moat(each)));

compare("a Context", inherited("Context"), fields(context));
compare("a Process", inherited("Process"), fields(started));
compare("an ApiError", inherited("ApiError"), fields(refused).filter((name) => name !== "name"));
compare("a Command", inherited("Command"), fields(client.command`ls`));
compare("a result", needed("ExecResult"), fields(result));
compare("start", needed("StartEvent"), fields(events[0]));
compare("output", needed("OutputEvent"), fields(events[1]));
compare("exit", needed("ExitEvent"), fields(events.at(-1)));
compare("logs", needed("Logs"), fields(await moat.logs(result.id)));
compare("a file", needed("FileInfo"), fields(await moat.files.stat("/etc/passwd")));
compare("a listener", needed("Listener"), fields((await moat.ports())[0]));
const missing = (what, name, object) => needed(name).filter((each) => !(each in object)).forEach((each) => said.push(`${what}: no ${each}`));
missing("a context", "ContextDetails", await context.info());
missing("a process", "ProcessInfo", await moat.process(result.id));
missing("the status", "Status", await moat.status());
await context.remove();
console.log(said.join("\n"));
