// SPDX-License-Identifier: Apache-2.0
// The usage lines of the document on credentials, with the real programs: the AWS command line, psql, git, npm. What they speak to
// is a server here, which says what they have sent.
import assert from "node:assert/strict";

import { gitServer, postgresServer, s3Server } from "./servers.mjs";

const { APP } = process.env;
const SECRET = "wJalrXUtnFEMI-7MDENG";

/** What runs beside it, without credentials: what the agent wrote. */
async function appKnows(sandbox, ...names) {
	await sandbox.files.write(`${APP}/app.js`, "console.log(JSON.stringify(process.env));\n");
	const { stdout } = await sandbox.exec(`node ${APP}/app.js`);

	return names.filter((name) => name in JSON.parse(stdout));
}

/** Where the kernel does not shield a secret the programs get it all the same, because this says so. */
async function execSecure(sandbox, command, options) {
	const available = await sandbox.hasSecureExecution();

	assert.equal(String(available), process.env.ENFORCED);
	return sandbox.execSecure(command, { ...options, allowUnshielded: !available });
}

export const credentials = {
	"deploying with an agent": async (sandbox) => {
		const s3 = await s3Server();
		const deploy = await execSecure(sandbox, `env | grep AWS_ && aws s3 ls --endpoint-url http://127.0.0.1:${s3.port}`, {
			env: { AWS_ACCESS_KEY_ID: "AKIDEXAMPLE", AWS_SECRET_ACCESS_KEY: SECRET, AWS_DEFAULT_REGION: "us-east-1" },
		});
		assert(deploy.ok && deploy.stdout.includes("bucket-of-the-test"), deploy.stderr);
		assert(deploy.stdout.includes("AWS_ACCESS_KEY_ID=AKIDEXAMPLE\n") && deploy.stdout.includes(`AWS_SECRET_ACCESS_KEY=${SECRET}\n`));
		assert.match(s3.seen.join(), /Credential=AKIDEXAMPLE\//);

		assert.deepEqual(await appKnows(sandbox, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), []);
	},
	"database migration": async (sandbox) => {
		const postgres = await postgresServer();
		await sandbox.files.write(`${APP}/migrate.sql`, "\\! env | grep ^PG\n");
		const migration = await execSecure(sandbox, `psql -X -U migrator -d shop -f ${APP}/migrate.sql`, {
			env: { PGPASSWORD: SECRET, PGHOST: "127.0.0.1", PGPORT: String(postgres.port) },
		});
		assert(migration.ok && migration.stdout.includes(`PGPASSWORD=${SECRET}\n`), JSON.stringify(migration));
		assert.deepEqual(postgres.seen, [SECRET]);

		assert.deepEqual(await appKnows(sandbox, "PGPASSWORD", "PGHOST"), []);
	},
	"package installation": async (sandbox) => {
		const running = await sandbox.startProcess("sleep 1000", { env: { DEPLOY_TOKEN: SECRET } });
		await sandbox.files.write(`${APP}/untrusted-package/package.json`, JSON.stringify({ name: "untrusted-package", version: "1.0.0",
			scripts: { postinstall: "node spy.js" } }));
		await sandbox.files.write(`${APP}/untrusted-package/spy.js`, `const fs = require("fs");
			const read = (pid) => { try { return fs.readFileSync("/proc/" + pid + "/environ", "latin1"); } catch { return ""; } };
			const all = fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).map(read);
			fs.writeFileSync("${APP}/stolen", all.join("\\n") + "\\nread " + all.filter(Boolean).length);`);
		const install = await execSecure(sandbox, "npm install --offline --no-audit --no-fund --install-links ./untrusted-package",
			{ cwd: APP, isolated: true, env: {} });
		const stolen = await sandbox.files.read(`${APP}/stolen`);
		assert(install.ok, install.stderr);
		assert(Number(/read (\d+)$/.exec(stolen)[1]) >= 1 && stolen.includes("npm_package_name=untrusted-package"), stolen);
		assert(!stolen.includes(SECRET) && !stolen.includes("DEPLOY_TOKEN"));
		await running.kill();
	},
	"git with a token": async (sandbox) => {
		const git = await gitServer(`${APP}/upstream`);
		const env = { GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: `http.http://127.0.0.1:${git.port}/.extraHeader`,
			GIT_CONFIG_VALUE_0: `Authorization: Basic ${Buffer.from(`x-access-token:${SECRET}`).toString("base64")}` };
		const clone = ["git", "clone", "--quiet", `http://127.0.0.1:${git.port}/repository.git`, `${APP}/clone`];

		const without = await sandbox.exec(clone, { env: { GIT_TERMINAL_PROMPT: "0" }, isolated: false });
		assert(!without.ok && without.stderr.includes("could not read Username"), without.stderr);
		const cloned = await execSecure(sandbox, clone, { env });
		assert(cloned.ok, cloned.stderr);
		assert(git.seen.includes(`x-access-token:${SECRET}`));
		assert.equal(await sandbox.files.read(`${APP}/clone/README`), "upstream\n");

		const later = await sandbox.exec(`git -C ${APP}/clone config --list; cat ${APP}/clone/.git/config; env`);
		assert(later.stdout.includes("remote.origin.url") && !/extraheader/i.test(later.stdout) && !later.stdout.includes("x-access-token"));
	},
};

export const unshielded = {
	"old code continues to work": async (sandbox) => {
		const { warnings } = await sandbox.setEnvVars({ AWS_SECRET_KEY: SECRET });
		assert.deepEqual(warnings.map(({ code, name }) => [code, name]), [["SECRET_IN_CONTEXT", "AWS_SECRET_KEY"]]);
		assert.equal((await sandbox.exec("echo $AWS_SECRET_KEY")).stdout, `${SECRET}\n`);
		await sandbox.setEnvVars({ AWS_SECRET_KEY: null });
	},
	"migration path": async (sandbox, { MoatError }) => {
		const { available, reason } = await sandbox.secureExecution();
		assert.equal(await sandbox.hasSecureExecution(), available);
		if (!available) {
			assert(reason);
			await assert.rejects(sandbox.execSecure("echo $AWS_KEY", { env: { AWS_KEY: SECRET } }),
				(error) => error instanceof MoatError && error.code === "NOT_SHIELDED");
		}
	},
	"two contexts": async (sandbox) => {
		assert.equal((await sandbox.platform.exec("echo $AWS_KEY", { env: { AWS_KEY: SECRET } })).stdout, `${SECRET}\n`);
		assert.equal((await sandbox.user.exec("echo $AWS_KEY")).stdout, "\n");
		assert.equal((await sandbox.platform.exec("echo $AWS_KEY")).stdout, "\n");
		assert.deepEqual((await sandbox.contexts()).map(({ name }) => name).filter((name) => ["platform", "user"].includes(name)), ["platform", "user"]);
	},
	"configuration is no secret": async (sandbox) => {
		const { warnings } = await sandbox.setEnvVars({ NODE_ENV: "development", PORT: "3000" });
		assert.deepEqual(warnings, []);
		assert.equal((await sandbox.exec("echo $NODE_ENV $PORT")).stdout, "development 3000\n");
		await sandbox.setEnvVars({ NODE_ENV: null, PORT: null });
	},
};
