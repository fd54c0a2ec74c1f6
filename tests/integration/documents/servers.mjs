// SPDX-License-Identifier: Apache-2.0
// What the programs of the documents speak to. Each says in `seen` what it was sent.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";

async function listening(server, seen) {
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	return { port: server.address().port, seen };
}

/** A store with one bucket; seen: the headers Authorization. */
export async function s3Server() {
	const seen = [];

	return listening(http.createServer((request, response) => {
		seen.push(request.headers.authorization);
		response.setHeader("content-type", "application/xml");
		response.end('<?xml version="1.0"?><ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>1</ID></Owner>' +
			"<Buckets><Bucket><Name>bucket-of-the-test</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets>" +
			"</ListAllMyBucketsResult>");
	}), seen);
}

function message(type, ...parts) {
	const body = Buffer.concat(parts.map((part) => typeof part === "number" ? Buffer.from([0, 0, 0, part]) : Buffer.from(part)));
	const head = Buffer.alloc(5);

	head.write(type, "latin1");
	head.writeInt32BE(body.length + 4, 1);
	return Buffer.concat([head, body]);
}

/** As much of a database as takes a password and has nothing to do; seen: the passwords. */
export async function postgresServer() {
	const seen = [];

	return listening(net.createServer((socket) => {
		socket.on("error", () => {});
		socket.on("data", (data) => {
			const code = data.length >= 8 && data[0] === 0 ? data.readInt32BE(4) : 0;

			if (code === 80877103 || code === 80877104) { // for TLS, for GSSAPI
				socket.write("N");
			} else if (code === 196608) { // version 3.0
				socket.write(message("R", 3)); // the password, please
			} else if (data[0] === 0x70) {
				seen.push(data.toString("utf8", 5, data.length - 1));
				socket.write(Buffer.concat([message("R", 0), message("S", "server_version\0", "15.0\0"), message("Z", "I")]));
			} else if (data[0] === 0x58) {
				socket.end();
			}
		});
	}), seen);
}

/** A repository of one commit, for who has a token; seen: the credentials of the header Authorization. */
export async function gitServer(place) {
	const seen = [], bare = `${place}/repository.git`;
	const git = (...args) => execFileSync("git", ["-c", "user.name=u", "-c", "user.email=u@localhost", "-C", `${place}/work`, ...args]);

	mkdirSync(`${place}/work`, { recursive: true });
	git("init", "--quiet", "--initial-branch=main");
	writeFileSync(`${place}/work/README`, "upstream\n");
	git("add", "README");
	git("commit", "--quiet", "--message=first");
	git("clone", "--quiet", "--bare", ".", bare);
	git("-C", bare, "update-server-info");
	return listening(http.createServer((request, response) => {
		const { authorization } = request.headers;

		if (!authorization) {
			response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
			return;
		}
		seen.push(Buffer.from(authorization.split(" ")[1], "base64").toString());
		try {
			response.end(readFileSync(place + new URL(request.url, "http://x").pathname));
		} catch {
			response.writeHead(404).end();
		}
	}), seen);
}
