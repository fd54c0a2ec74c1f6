// SPDX-License-Identifier: Apache-2.0
// What only the Node client has: node.mjs CLIENT NAME runs one of the checks below. It ends with status 0 when all holds.
import assert from "node:assert/strict";

const [index, name] = process.argv.slice(2);
const { Moat, Command, command, quote } = await import(index);
const moat = new Moat();

/** Waits until nothing runs of a command string. */
async function gone(text) {
	for (let i = 0; (await moat.processes()).some(({ state, command: each }) => state !== "ended" && each === text); i++) {
		assert.ok(i < 200, `${text} still runs`);
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
}

const checks = {
	/** Whatever a value is, the program gets it as one argument, or as a part of the one that it stands in. */
	async templates() {
		for (const value of ["", "a b", "'", '"', "$HOME", "$(id)", "`id`", "\\", "a\nb", "*", "~", "#", "2", "if", "A=b", "; echo no", "ü€", "a'b\"c$d`e\\f"]) {
			const { stdout } = await moat.exec`printf '%s\\0' ${value} a${value}b "in ${value} dq" 'in ${value} sq' ${value}`;

			assert.deepEqual(stdout.split("\0").slice(0, -1), [value, `a${value}b`, `in ${value} dq`, `in ${value} sq`, value]);
		}
		assert.equal((await moat.exec`echo ${2}>/dev/null ${true} ${7n}`).stdout, "");
		assert.equal((await moat.exec`cat <<<${"a b"} && echo "it's" \\" ${"x;y"} a#${"b"}`).stdout, 'a b\nit\'s " x;y a#b\n');
		assert.equal((await moat.exec`echo ${"x"} # a comment`).stdout, "x\n");
		const events = [];
		for await (const event of moat.execStream`echo ${"a  b"}`)
			events.push(event.text ?? event.type);
		assert.deepEqual(events, ["start", "a  b\n", "exit"]);
		assert.equal((await moat.exec(command`pwd; echo ${"a  b"}`, { cwd: "/usr" })).stdout, "/usr\na  b\n");
	},

	/** Where a value cannot be one word it is refused, and so is what is no word. */
	async refusals() {
		const x = "x";

		for (const make of [() => command`echo $(ls ${x})`, () => command`echo "$(ls ${x})"`, () => command`echo \`ls ${x}\``, () => command`echo "\${V:-${x}}"`,
			() => command`cat <<E\n${x}\nE`, () => command`cat <<E && echo ${x}\nE`, () => command`echo # ${x}`, () => command`echo;#${x}`,
			() => command`echo \\${x}`, () => command`echo "\\${x}"`, () => command`echo $${x}`, () => command`echo $'${x}'`, () => command`cat <(${x})`,
			() => command`echo ${null}`, () => command`echo ${undefined}`, () => command`echo ${["a"]}`, () => command`echo ${{}}`, () => command`echo ${"a\0b"}`])
			assert.throws(make, TypeError, make.toString());
		assert.throws(() => command("echo x"), TypeError);
		assert.throws(() => quote(1), TypeError);
		await assert.rejects(moat.exec(command`for i in a; do echo ${"$(id)"}; done`, { onUnsupported: "bash" }), { code: "UNSUPPORTED_SYNTAX" });
		assert.equal((await moat.exec(command`for i in a; do echo $i; done`, { onUnsupported: "bash" })).interpreter, "bash");
		const lenient = await moat.createContext({ name: `lenient-${process.pid}`, shell: "fallback" });
		await assert.rejects(lenient.exec`for i in a; do echo ${"$(id)"}; done`, { code: "UNSUPPORTED_SYNTAX" });
		assert.equal((await lenient.exec`for i in a; do echo $i; done`).interpreter, "bash");
		await lenient.remove();
		assert.equal(new Moat({ onUnsupported: "error" }) instanceof Moat && command`a` instanceof Command, true);
	},

	/** An AbortSignal that has been given starts nothing; one in the middle of startProcess and execStream ends the tree. */
	async aborts() {
		const before = AbortSignal.abort(new Error("before"));
		const { started } = (await moat.status()).execs;

		await assert.rejects(moat.exec("true", { signal: before }), /before/);
		await assert.rejects(moat.execSecure("true", { signal: before, allowUnshielded: true }), /before/);
		await assert.rejects(moat.execStream("true", { signal: before }).next(), /before/);
		assert.equal((await moat.status()).execs.started, started);

		const controller = new AbortController();
		const server = await moat.startProcess("sleep 1000 & echo up; sleep 1000", { signal: controller.signal });
		await server.waitForOutput("up");
		controller.abort(new Error("enough"));
		await assert.rejects(server.exited, /enough/);
		assert.equal((await server.status()).state, "ended");

		const other = await moat.startProcess("echo a; sleep 1003");
		const watched = await moat.attach(other.id, { onOutput: () => { throw new Error("mine"); } });
		await assert.rejects(watched.exited, /mine/);
		assert.equal((await other.status()).state, "running"); // it is somebody else's
		await other.kill();

		const early = new AbortController();  // before it has an id
		const never = moat.exec("sleep 1000", { signal: early.signal });
		setImmediate(() => early.abort(new Error("early")));
		await assert.rejects(never, /early/);
		await gone("sleep 1000");
	},

	/** Who reads slowly holds the command back; who stops reading leaves it running; a callback that throws ends it. */
	async readers() {
		const zeros = ["sh", "-c", "head -c 300000000 /dev/zero; sleep 1000"];
		let id, seen = 0;

		for await (const event of moat.execStream(zeros)) {
			id ??= event.id;
			seen += event.data?.length ?? 0;
			if (seen < 1 << 20)
				continue;
			await new Promise((resolve) => setTimeout(resolve, 1500));
			const { state, stdoutBytes } = await moat.process(id);
			assert.ok(state === "running" && stdoutBytes < 64 << 20, `${state} ${stdoutBytes}`);
			break;
		}
		assert.equal((await moat.process(id)).state, "running");
		assert.equal(await moat.kill(id), true);

		await assert.rejects(moat.exec("echo a; sleep 1001", { onOutput: () => { throw new Error("mine"); } }), /mine/);
		await gone("echo a; sleep 1001");
		const server = await moat.startProcess("sleep 0.1; echo a; sleep 1002", { onOutput: async () => { throw new Error("mine too"); } });
		await assert.rejects(server.exited, /mine too/);
		await gone("sleep 0.1; echo a; sleep 1002");
	},

	/** A hundred at once get each its own output; no connection is left. */
	async many() {
		const results = await Promise.all(Array.from({ length: 100 }, (_, i) => moat.exec`echo ${i}; exit ${i % 3}`));

		assert.deepEqual(results.map(({ stdout, exitCode }) => [stdout, exitCode]), results.map((_, i) => [`${i}\n`, i % 3]));
		for (let i = 0; (await moat.status()).connections > 10; i++)
			assert.ok(i < 100);
	},
};

await checks[name]();
