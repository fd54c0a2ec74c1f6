// SPDX-License-Identifier: Apache-2.0
// The control plane that the tests and the demo protect: what a sandbox's own server looks like.
declare const Bun: any;
declare const process: any;

const started = Date.now();

Bun.serve({
	port: Number(process.env.PORT ?? 8080),
	hostname: "0.0.0.0",
	fetch(request: Request): Response {
		if (new URL(request.url).pathname === "/health")
			return Response.json({ ok: true, pid: process.pid, upMs: Date.now() - started });
		return new Response("control plane\n");
	},
});
