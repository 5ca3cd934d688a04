// Savings accounts, served to Evento without an SDK: an Avro library and node's own HTTP server are enough.
// This file is the server, protocol.ts is the protocol, savings.ts the business. Build: npm ci && npm run build
import { chmodSync, rmSync, statSync } from "node:fs";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { dirname } from "node:path";
import { decode, encode } from "./codec.js";
import { type Call, discovery, fits, work } from "./protocol.js";

const CALL_BYTES_MAX = 64 * 1024 * 1024;
const PARENT_LOOK_MS = 1000;
const described = encode("discovery", discovery());

const server = createServer((request, response) => {
  serve(request, response).catch((error: unknown) => refuse(response, 500, String(error)));
});
server.keepAliveTimeout = 0; // the platform keeps connections as long as it likes

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  switch (`${request.method} ${request.url}`) {
    case "GET /evento":
      return answer(response, described);
    case "GET /evento/health":
      return void response.writeHead(200).end();
    case "POST /evento":
      return serveWork(await whole(request), response);
    default:
      return refuse(response, 404, "only the paths of the function protocol are served here");
  }
}

function serveWork(body: Buffer | null, response: ServerResponse): void {
  if (body === null) return refuse(response, 413, "a call of more bytes than are taken here");
  let call: Call;
  try {
    call = decode<Call>("call", body);
  } catch {
    return refuse(response, 400, "not a call");
  }
  if (!fits(call)) return refuse(response, 400, "not a call");
  if (call.namespace !== "bank" || call.entity !== "Savings") return refuse(response, 404, "only bank/Savings is served here");
  answer(response, encode("reply", work(call)));
}

/** Return the whole body, or null if it is too long. */
async function whole(request: IncomingMessage): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > CALL_BYTES_MAX) return null;
    parts.push(part);
  }
  return Buffer.concat(parts, bytes);
}

function answer(response: ServerResponse, body: Buffer): void {
  response.writeHead(200, { "Content-Type": "application/avro", "Content-Length": body.length }).end(body);
}

function refuse(response: ServerResponse, status: number, reason: string): void {
  if (!response.headersSent) response.writeHead(status, { "Content-Type": "text/plain" });
  response.end(reason);
}

function listen(): void {
  const socket = process.env.EVENTO_SOCKET;
  if (!socket) {
    server.listen(Number(process.env.PORT ?? 8080));
    return;
  }
  rmSync(socket, { force: true }); // what a killed predecessor left
  server.listen(socket, () => {
    const others = statSync(dirname(socket)).uid !== process.getuid!();
    if (others) chmodSync(socket, 0o666); // in a container the platform is somebody else
  });
}

/** End this process soon after the platform that started it, however that ended. */
function endWithParent(): void {
  const parent = process.env.EVENTO_PARENT_PID;
  if (!parent) return;
  setInterval(() => process.ppid === Number(parent) || process.exit(0), PARENT_LOOK_MS).unref();
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => server.close(() => process.exit(0))); // finishes what is under way
}
endWithParent();
listen();
