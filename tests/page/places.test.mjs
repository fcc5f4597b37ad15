// Wherever the page is shown, and by whatever it is used: prefixes, frames, phones, keys.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, it } from "node:test";

import { PHONE, assertFits, describe, openBrowser, openPage, pill, run, screenshot, serveModel, startPlatform, startProxy, startServer } from "./support.mjs";

/** What the page may weigh in all. */
const MAX_PAGE_BYTES = 150_000;

let browser, server;
before(async () => (browser = await openBrowser()));
after(() => browser.close());
beforeEach(async () => (server = await startServer()));
afterEach(() => server.stop());

/** Opens a page that is closed with the test. */
async function open(test, url, options) {
  const viewer = await openPage(browser, url, options);
  test.after(viewer.close);
  return viewer;
}

/** Serves the demo model, finds something, and stops it again. */
async function useEverything(page) {
  await serveModel(page, "demo");
  await page.locator("#example").click();
  await page.locator("#run:enabled").waitFor();
  await run(page);
  assert.ok((await page.locator("#drawing .shape").count()) >= 2);
  await page.getByRole("button", { name: "Stop and choose another model" }).click();
  await pill(page, "not deployed");
}

describe("the page", () => {
  it("is light", async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const sizes = [];
    page.on("requestfinished", (request) => sizes.push(request.response().then((response) => response.body()).then((body) => body.length)));
    await page.goto(server.url);
    await pill(page, "not deployed");
    const total = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    assert.ok(sizes.length > 20 && total < MAX_PAGE_BYTES, `${sizes.length} requests, ${total} bytes`);
    await context.close();
  });

  it("is not fetched again when nothing has changed", async (test) => {
    const { page } = await open(test, server.url);
    await pill(page, "not deployed");
    const response = await fetch(`${server.url}page/main.js`);
    const again = await fetch(`${server.url}page/main.js`, { headers: { "if-none-match": response.headers.get("etag") } });
    assert.equal(again.status, 304);
  });

  it("answers the platform's ping", async () => {
    assert.deepEqual(await (await fetch(`${server.url}?ping=true`)).json(), { message: "App is running" });
  });
});

describe("below a prefix that the proxy takes off", () => {
  for (const ending of ["", "/", "?slyContext=%7B%7D"]) {
    it(`works at /net/token${ending}`, async (test) => {
      const proxy = await startProxy(server.url, "/net/token");
      test.after(proxy.stop);
      const { page, requests, check } = await open(test, `${proxy.url}/net/token${ending}`);
      await useEverything(page);
      assert.deepEqual(proxy.outside, []);
      assert.ok(requests.length > 20);
      await page.getByRole("tab", { name: "curl" }).click();
      assert.match(await page.locator("#panel-text").innerText(), new RegExp(`'${proxy.url}/net/token/inference_image'`));
      assert.equal(await page.getByRole("link", { name: "Metrics" }).getAttribute("href"), `${proxy.url}/net/token/metrics`);
      check();
    });
  }
});

describe("below a prefix of the server's own", () => {
  it("works with and without a slash", async (test) => {
    const prefixed = await startServer({ SUPERVISELY_SERVER_PATH_PREFIX: "/app" });
    test.after(prefixed.stop);
    for (const ending of ["app", "app/"]) {
      const { page, check } = await open(test, prefixed.url + ending);
      await useEverything(page);
      check();
    }
  });
});

describe("inside the platform's frame", () => {
  it("works, and tells the platform when it is there", async (test) => {
    const platform = await startPlatform(server.url);
    test.after(platform.stop);
    const { page, check } = await open(test, platform.url);
    const frame = page.frames().find((one) => one !== page.mainFrame());
    await pill(frame, "not deployed");
    await page.waitForFunction(() => globalThis.told.length >= 3);
    assert.deepEqual(await page.evaluate(() => globalThis.told), ['{"showHeader":false}', { action: "init-start" }, { action: "init-end" }]);
    await useEverything(frame);
    check({ hosts: [new URL(server.url).origin] });
  });
});

describe("on a phone", () => {
  it("works at 390 pixels and never scrolls sideways", async (test) => {
    const { page, check } = await open(test, server.url, { viewport: PHONE, isMobile: true, hasTouch: true, deviceScaleFactor: 2 });
    await pill(page, "not deployed");
    await assertFits(page);
    await page.getByRole("radio", { name: "demo" }).tap();
    await page.getByRole("button", { name: "Serve", exact: true }).tap();
    await pill(page, "ready");
    await page.locator("#example").tap();
    await page.locator("#run:enabled").tap();
    await page.locator("#drawing .shape").first().waitFor();
    await assertFits(page);
    await screenshot(page, "phone");
    await page.getByRole("button", { name: "Stop and choose another model" }).tap();
    await pill(page, "not deployed");
    check();
  });
});

describe("by keyboard alone", () => {
  /** Presses Tab until this element has the focus; each one on the way must show it. */
  async function tabTo(page, selector) {
    for (let presses = 0; presses < 80; presses++) {
      await page.keyboard.press("Tab");
      const { isThere, isShown, what } = await page.evaluate((wanted) => {
        const element = document.activeElement;
        const rings = [element, element.nextElementSibling, document.querySelector(`label[for="${element.id}"].button`)].filter(Boolean);
        // Between the last element and the first one the browser's own have the focus.
        const isShown = element === document.body || rings.some((one) => getComputedStyle(one).outlineStyle !== "none" && parseFloat(getComputedStyle(one).outlineWidth) > 0);
        return { isThere: element.matches(wanted), isShown, what: element.outerHTML.slice(0, 80) };
      }, selector);
      assert.ok(isShown, `no visible focus on ${what}`);
      if (isThere) return;
    }
    assert.fail(`${selector} cannot be reached`);
  }

  it("a model is served, asked and stopped", async (test) => {
    const { page, check } = await open(test, server.url);
    await pill(page, "not deployed");
    await tabTo(page, "#models input:checked");
    for (let presses = 0; presses < 9 && !(await page.locator("input[value=demo]").isChecked()); presses++) await page.keyboard.press("ArrowDown");
    await tabTo(page, "#serve");
    await page.keyboard.press("Enter");
    await pill(page, "ready");
    await tabTo(page, "#example");
    await page.keyboard.press("Space");
    await page.locator("#frame").waitFor();
    await tabTo(page, "#task");
    await page.keyboard.press("ArrowDown");
    assert.equal(await page.locator("#task").inputValue(), "<OD>");
    await page.keyboard.press("Control+Enter");
    await page.locator("#drawing .shape").nth(1).waitFor();
    await tabTo(page, "[role=tab]");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    assert.match(await page.locator("#panel-text").innerText(), /"objects"/);
    await page.evaluate(() => document.activeElement.blur());
    await tabTo(page, "#stop");
    await page.keyboard.press("Enter");
    await pill(page, "not deployed");
    check();
  });
});
