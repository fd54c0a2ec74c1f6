// SPDX-License-Identifier: Apache-2.0
// A deploy with credentials: the build, which runs what others wrote, gets none; the upload alone does, apart from all
// else. usage: DEPLOY_TOKEN=… node deploy.mjs [--unshielded]
import { Moat } from "moat-client";

const token = process.env.DEPLOY_TOKEN;
const moat = new Moat();
const allowUnshielded = process.argv.includes("--unshielded");

if (!token)
	throw new Error("DEPLOY_TOKEN is not set");
// Whether a secret is shielded is the kernel's doing; who goes on without has to say so.
const { available, reason } = await moat.secureExecution();
if (!available && !allowUnshielded) {
	console.error(`not deployed: the token would not be shielded: ${reason}`);
	process.exit(1);
}

const context = await moat.createContext({ name: `deploy-${process.pid}`, directory: "/tmp" });
const directory = (await context.exec("mktemp -d")).stdout.trim();

try {
	const build = await context.exec`cd ${directory} && echo '<h1>hello</h1>' > index.html && tar czf site.tgz index.html && env`;
	if (!build.ok)
		throw new Error(`the build failed: ${build.stderr}`);
	console.log(`the build knows the token: ${build.stdout.includes(token)}`);

	// In the place of `aws s3 cp` or `git push`: what says whether it has a file and a token.
	const upload = await context.execSecure(["sh", "-c", 'test -n "$DEPLOY_TOKEN" && echo "uploaded $(wc -c <"$1") bytes"', "upload", `${directory}/site.tgz`],
		{ env: { DEPLOY_TOKEN: token }, timeout: 60_000, allowUnshielded });
	if (!upload.ok)
		throw new Error(`the upload failed with status ${upload.exitCode}: ${upload.stderr}`);
	console.log(upload.stdout.trim());

	const after = await context.exec("env");
	console.log(`a later command knows the token: ${after.stdout.includes(token)}`);
} finally {
	await context.exec(["rm", "-rf", directory]);
	await context.remove();
}
