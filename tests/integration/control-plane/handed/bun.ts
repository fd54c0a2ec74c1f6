import { createServer } from "node:http";
import { createServer as createListener } from "node:net";

const http = createServer((request, response) => response.end("hello\n"));
createListener((socket) => http.emit("connection", socket)).listen({ fd: 3 });
