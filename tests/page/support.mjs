// What the cases share: the server program, a browser that notices every fault of a page, and a proxy like the platform's.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, request as send } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe as suite } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../", import.meta.url);
/** Where the packages are, and where screenshots go. */
const OUTPUT = new URL("target/page/", ROOT);
const require = createRequire(OUTPUT);
const { chromium } = require("playwright-core");
const BINARIES = process.env.SERVE_BINARIES ?? fileURLToPath(new URL("target/debug", ROOT));

/** Nothing here is measured: this only ends what hangs. */
const PATIENCE_MS = 60_000;
/** The same for a group of cases. What Playwright waits for without a limit of its own, as an evaluation, is ended by it and named. */
const GROUP_PATIENCE_MS = 180_000;

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** A group of cases that ends. */
export const describe = (name, cases) => suite(name, { timeout: GROUP_PATIENCE_MS }, cases);

export const DESKTOP = { width: 1360, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** A browser with a profile of its own, which Playwright makes and removes. */
export const openBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS, timeout: PATIENCE_MS });

/**
 * Opens a page that keeps account: of everything that it asks for, and of everything that goes wrong in it.
 * `check` fails if it asked another host than the given ones, or anything went wrong that is not `expected`.
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, acceptDownloads: true, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  const requests = [];
  const faults = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => faults.push(String(error.stack)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`${message.text()} ${message.location().url}`);
  });
  await page.goto(url);
  const origin = new URL(url).origin;
  const check = ({ expected = /$^/, hosts = [] } = {}) => {
    const foreign = requests.filter((to) => !/^(blob|data):/.test(to) && ![origin, ...hosts].includes(new URL(to).origin));
    assert.deepEqual(foreign, [], "requests to another host");
    assert.deepEqual(faults.filter((fault) => !expected.test(fault)), [], "faults of the page");
  };
  return { page, context, requests, faults, check, close: () => context.close() };
}

/** Waits until the header says so. */
export const pill = (page, words) => page.locator("#pill-text").filter({ hasText: words }).waitFor({ timeout: PATIENCE_MS });

/** Serious and critical findings of axe, as readable lines. */
export async function accessibility(page) {
  if (!(await page.evaluate(() => "axe" in globalThis))) {
    await page.evaluate(await readFile(require.resolve("axe-core/axe.min.js"), "utf8"));
  }
  // Colours that are on their way are nobody's last word. They are not waited for: a browser that draws nothing ends none.
  await page.evaluate(() => document.getAnimations().filter((one) => one instanceof CSSTransition).forEach((one) => one.finish()));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(" ")} – ${node.failureSummary}`));
}

/** A picture of the whole page for people to look at. */
export async function screenshot(page, name) {
  await page.screenshot({ path: fileURLToPath(new URL(`${name}.png`, OUTPUT)), fullPage: true });
}

/** No part of the page is wider than the window. */
export async function assertFits(page) {
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(excess, 0, `the page is ${excess} pixels too wide`);
}

/** Runs the model, also in a frame, and waits for the answer's line. */
export async function run(page) {
  const answered = (page.page?.() ?? page).waitForResponse((response) => response.url().endsWith("/inference_image"));
  await page.locator("#run").click();
  await answered;
  await page.locator("#abort").waitFor({ state: "hidden" });
  return page.locator("#run-state").innerText();
}

/** Drags over the picture between two points, as shares of its size. */
export async function drag(page, [x1, y1], [x2, y2]) {
  await page.locator("#drawing").scrollIntoViewIfNeeded();
  const box = await page.locator("#drawing").boundingBox();
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(x1, y1));
  await page.mouse.down();
  await page.mouse.move(...at((x1 + x2) / 2, (y1 + y2) / 2));
  await page.mouse.move(...at(x2, y2));
  await page.mouse.up();
}

/**
 * The server program on a free port, without a model and without the hub unless `variables` say otherwise.
 * It ends with `stop`, which is to be called in any case.
 */
export async function startServer(variables = {}, options = []) {
  const home = await mkdtemp(join(tmpdir(), "page-"));
  const environment = { PATH: process.env.PATH, HOME: home, HF_HOME: home, HF_HUB_OFFLINE: "1", APPS_CACHE_DIR: join(home, "cache"), LOG_LEVEL: "info", AUTOSTART: "0", ...variables };
  const child = spawn(join(BINARIES, "serve-florence-2"), ["serve", "--device", "cpu", "--port", "0", ...options], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(home, { recursive: true, force: true });
  };
  let log = "";
  const url = await new Promise((resolve, reject) => {
    const read = (chunk) => {
      log += chunk;
      const found = log.match(/listening on (http:\/\/[\d.]+:\d+)/);
      if (found) resolve(`${found[1]}/`);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    ended.then(() => reject(new Error(`the server ended before it listened:\n${log}`)));
  });
  return { url, stop, log: () => log };
}

/** Chooses and serves a model, and waits until it is ready. */
export async function serveModel(page, name) {
  await page.getByRole("radio", { name }).check();
  await page.getByRole("button", { name: "Serve", exact: true }).click();
  await pill(page, "ready");
}

/** Forwards what lies below `prefix` and takes the prefix off, as the platform does. */
export async function startProxy(target, prefix) {
  const outside = [];
  const server = createServer((incoming, outgoing) => {
    const { pathname, search } = new URL(incoming.url, "http://proxy");
    if (pathname !== prefix && !pathname.startsWith(`${prefix}/`)) {
      outside.push(incoming.url);
      return outgoing.writeHead(404).end();
    }
    const path = (pathname.slice(prefix.length) || "/") + search;
    const { hostname, port } = new URL(target);
    const forwarded = send({ hostname, port, path, method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.writeHead(502).end());
    incoming.pipe(forwarded);
  });
  return { ...(await listen(server)), outside };
}

/** A page that holds `url` in a frame and keeps what the frame tells it. */
export async function startPlatform(url) {
  const html = `<!doctype html><title>Platform</title><script>
    globalThis.told = [];
    addEventListener("message", ({ data }) => told.push(data));
  </script><iframe src="${url}" width="1200" height="900" allow="clipboard-write"></iframe>`;
  return listen(createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(html)));
}

async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, stop };
}
