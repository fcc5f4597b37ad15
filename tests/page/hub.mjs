// A hub on loopback with one tiny checkpoint under a published name, as slow as a test wants it.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const REPOSITORY = "microsoft/Florence-2-base";
const CHECKPOINT = new URL("../fixtures/golden/tiny_a/original/", import.meta.url);
const FILES = ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "pytorch_model.bin"];
const COMMIT = "0".repeat(40);
/** From this size on a file has a hash of its own. */
const LARGE_BYTES = 100_000;
const PIECE_BYTES = 16 << 10;

/** `pauseMs` is how long each piece of a large file takes; tests change it while files are sent. */
export async function startHub(pauseMs) {
  const hub = { pauseMs };
  const contents = new Map(await Promise.all(FILES.map(async (name) => [name, await readFile(new URL(name, CHECKPOINT))])));
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://hub").pathname;
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (path.startsWith(`/api/models/${REPOSITORY}/revision/`)) return sendJson(response, { id: REPOSITORY, sha: COMMIT });
    if (path === `/api/models/${REPOSITORY}/paths-info/${COMMIT}`) {
      const { paths } = JSON.parse(Buffer.concat(chunks));
      return sendJson(response, paths.filter((name) => contents.has(name)).map((name) => entry(name, contents.get(name))));
    }
    const content = contents.get(path.match(`^/${REPOSITORY}/resolve/${COMMIT}/(.+)$`)?.[1]);
    if (!content) return response.writeHead(404).end();
    await sendFile(request, response, content, hub);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  hub.endpoint = `http://127.0.0.1:${server.address().port}`;
  hub.stop = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return hub;
}

const sha256 = (content) => createHash("sha256").update(content).digest("hex");

/** What git calls a file of this content. */
const gitSha1 = (content) => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");

function entry(path, content) {
  const lfs = content.length >= LARGE_BYTES ? { oid: sha256(content), size: content.length } : null;
  return { type: "file", oid: gitSha1(content), size: content.length, path, lfs };
}

function sendJson(response, body) {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function sendFile(request, response, content, hub) {
  const from = Number(request.headers.range?.match(/bytes=(\d+)-/)?.[1] ?? 0);
  const rest = content.subarray(from);
  const linked = content.length >= LARGE_BYTES ? { "x-linked-etag": `"${sha256(content)}"` } : {};
  response.writeHead(from ? 206 : 200, { "content-length": rest.length, ...linked });
  for (let at = 0; at < rest.length && !response.destroyed; at += PIECE_BYTES) {
    response.write(rest.subarray(at, at + PIECE_BYTES));
    if (content.length >= LARGE_BYTES) await new Promise((resolve) => setTimeout(resolve, hub.pauseMs));
  }
  response.end();
}
