// SPDX-License-Identifier: Apache-2.0
// The tests and usage lines of the documents that the project began with, as they are written there but for `await` in front of
// createContext, and what a document leaves to its reader: the directory of the app, the ports of this machine, which are asked at
// 127.0.0.1 (at ::1 another program of the tests has one of them). Each is named by its document and number, and is given the sandbox.
// `real` has a real Bun and a real Jupyter for a control plane, or is about real programs; `alone` needs none of them.
import assert from "node:assert/strict";

import { credentials, unshielded } from "./credentials.mjs";

const { HTTP_PORT, JUPYTER_PORT, APP } = process.env;

const simple = {
	"2 credential isolation": async (manager) => {
		const aws = await manager.createContext({ name: "aws", env: { AWS_KEY: "secret" } });
		const gcp = await manager.createContext({ name: "gcp", env: { GCP_KEY: "secret" } });
		const awsKey = await aws.exec("echo $AWS_KEY");
		const gcpNoKey = await gcp.exec("echo $AWS_KEY");
		assert(awsKey.stdout.includes("secret"));
		assert(gcpNoKey.stdout.trim() === "");
	},
	"3 state persistence": async (manager) => {
		const dev = await manager.createContext({ name: "dev" });
		await dev.exec("cd /tmp");
		const pwd = await dev.exec("pwd");
		assert(pwd.stdout.trim() === "/tmp");

		const ctx = await manager.createContext({ name: "dev-2" });
		await ctx.exec("export NODE_ENV=production");
		assert((await ctx.exec("echo $NODE_ENV")).stdout.trim() === "production");
	},
	"4 no shell injection": async (manager) => {
		const safe = await manager.createContext({ name: "safe" });
		const evil = await safe.exec('echo "$(rm -rf /)"');
		assert(evil.stdout === "$(rm -rf /)\n");
	},
	"API compatibility": async (sandbox) => {
		const ctx = await sandbox.createContext({ name: "platform", env: { API_KEY: "xxx" }, isolation: true, persistent: true });
		assert((await ctx.exec("echo $API_KEY")).stdout === "xxx\n");
		await ctx.cd(APP);
		await ctx.setEnv({ NODE_ENV: "prod" });
		assert((await ctx.exec("pwd; echo $NODE_ENV")).stdout === `${APP}\nprod\n`);
		await ctx.exec("cd /tmp");
		await ctx.exec("export NODE_ENV=test");
		assert((await ctx.exec("pwd; echo $NODE_ENV")).stdout === "/tmp\ntest\n");
	},
};

const simpleReal = {
	"1 process isolation": async (manager) => {
		const ctx = await manager.createContext({ name: "test", isolation: true });
		const ps = await ctx.exec("ps aux");
		assert(ps.ok && ps.stdout.includes("ps aux"));
		assert(!ps.stdout.includes("jupyter"));
	},
};

const planReal = {
	"1 control plane is invisible and unkillable": async (sandbox) => {
		const ps = await sandbox.exec("ps aux");
		assert(!ps.stdout.includes("jupyter"));
		assert(!ps.stdout.includes("bun serve") && !ps.stdout.includes("bun"));

		await sandbox.exec("pkill jupyter");
		await sandbox.exec("pkill bun");

		for (const path of [`${HTTP_PORT}/health`, `${JUPYTER_PORT}/api`]) {
			const health = await fetch(`http://127.0.0.1:${path}`);
			assert(health.ok, path);
		}
	},
	"2 critical ports are pre-reserved": async (sandbox) => {
		const result = await sandbox.exec(`python3 -m http.server ${HTTP_PORT}`, { timeout: 300_000 });
		assert(result.stderr.includes("Address already in use"), result.stderr);

		const jupyter = await sandbox.exec(`nc -l ${JUPYTER_PORT}`, { timeout: 300_000 });
		assert(jupyter.stderr.includes("Address already in use"), jupyter.stderr);
	},
	"3 credentials are isolated when env is given": async (sandbox) => {
		const own = await sandbox.exec("env | grep AWS", { env: { AWS_ACCESS_KEY_ID: "secret123" } });
		assert(own.stdout === "AWS_ACCESS_KEY_ID=secret123\n"); // the AWS command line itself is in credentials.mjs

		const check = await sandbox.exec("echo $AWS_ACCESS_KEY_ID");
		assert(check.stdout.trim() === "");
		const running = await sandbox.startProcess("sleep 1000", { env: { AWS_ACCESS_KEY_ID: "secret123" } });
		const proc = await sandbox.exec("cat /proc/*/environ 2>/dev/null | grep -c secret123");
		assert(proc.stdout.trim() === "0", proc.stdout);
		await running.kill();
	},
	"4 user processes see each other": async (sandbox) => {
		const { id } = await sandbox.exec("sleep 30 &");
		const ps = await sandbox.exec("ps aux | grep sleep");
		assert(ps.stdout.includes("sleep 30"));
		assert(!ps.stdout.includes("jupyter"));
		assert(await sandbox.kill(id));
	},
};

const implicit = {
	"1 backward compatibility": async (sandbox) => {
		const result = await sandbox.exec("echo 'Hello'");
		assert(result.stdout === "Hello\n");
	},
	"2 state persistence": async (sandbox) => {
		await sandbox.exec("cd /tmp");
		const pwd = await sandbox.exec("pwd");
		assert(pwd.stdout.trim() === "/tmp");
	},
	"4 setEnvVars": async (sandbox) => {
		await sandbox.setEnvVars({ MY_VAR: "test" });
		const env = await sandbox.exec("echo $MY_VAR");
		assert(env.stdout.trim() === "test");
		const later = await sandbox.createContext({ name: "later" });
		assert((await later.exec("echo $MY_VAR")).stdout.trim() === "test"); // new contexts inherit it
		await sandbox.setEnvVars({ MY_VAR: null });
	},
	"sessions": async (sandbox) => {
		const first = await sandbox.exec(`cd ${APP}`, { sessionId: "user-123" });
		assert(first.created && first.context === "session-user-123");
		assert((await sandbox.exec("pwd", { sessionId: "user-123" })).stdout === `${APP}\n`);
		assert((await sandbox.exec("pwd", { sessionId: "user-124" })).stdout !== `${APP}\n`);
	},
	"session state": async (sandbox) => {
		await sandbox.exec(`cd ${APP}`);
		await sandbox.exec("export FOO=bar");
		assert((await sandbox.exec("echo $FOO")).stdout === "bar\n");
		assert((await sandbox.exec("pwd")).stdout === `${APP}\n`);
	},
	"explicit contexts": async (sandbox) => {
		await sandbox.createContext({ name: "aws", env: { AWS_KEY: "aws-secret" } });
		await sandbox.createContext({ name: "gcp", env: { GCP_KEY: "gcp-secret" } });
		const keys = "echo AWS=$AWS_KEY GCP=$GCP_KEY";
		assert((await sandbox.execInContext("aws", keys)).stdout === "AWS=aws-secret GCP=\n");
		assert((await sandbox.execInContext("gcp", keys)).stdout === "AWS= GCP=gcp-secret\n");
	},
};

const implicitReal = {
	"3 isolation": async (sandbox) => {
		const ps = await sandbox.exec("ps aux");
		assert(!ps.stdout.includes("jupyter"));
		await sandbox.exec("ps aux | grep jupyter");
		await sandbox.exec("pkill jupyter");
		assert((await fetch(`http://127.0.0.1:${JUPYTER_PORT}/api`)).ok);
	},
};

export const documents = {
	alone: { "000": simple, "002": implicit, "004": unshielded },
	real: { "000": simpleReal, "001": planReal, "002": implicitReal, "004": credentials },
};
