const { createServer } = require("node:http");

createServer((request, response) => response.end("hello\n")).listen({ fd: 3 });
