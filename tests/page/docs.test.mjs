// The page of the API: complete, true, and usable by everybody wherever it lies.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, it } from "node:test";
import { promisify } from "node:util";

import { DESKTOP, PHONE, accessibility, assertFits, describe, openBrowser, openPage, screenshot, startProxy, startServer } from "./support.mjs";

const runProgram = promisify(execFile);

let browser, server;
before(async () => {
  browser = await openBrowser();
  server = await startServer();
});
after(async () => {
  await browser.close();
  await server.stop();
});

/** Opens a page that is closed with the test, and waits until it shows the routes. */
async function open(test, url, options) {
  const viewer = await openPage(browser, url, options);
  test.after(viewer.close);
  await viewer.page.locator(".operation").first().waitFor();
  return viewer;
}

const operation = (page, name) => page.locator(`[id="${name}"]`);

describe("the page of the API", () => {
  it("shows every route that openapi.json describes", async (test) => {
    const { page, check } = await open(test, `${server.url}docs`);
    const { paths } = await (await fetch(`${server.url}openapi.json`)).json();
    const described = Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((verb) => verb + path));
    const shown = await page.locator(".operation").evaluateAll((all) => all.map((one) => one.id));
    assert.deepEqual(shown.toSorted(), described.toSorted());
    const linked = await page.locator("#contents a").evaluateAll((all) => all.map((one) => one.getAttribute("href").slice(1)));
    assert.deepEqual(linked, shown);
    check();
  });

  it("tells what goes in and out", async (test) => {
    const { page, check } = await open(test, `${server.url}docs`);
    const route = operation(page, "post/inference_image_id");
    await route.locator("summary").click();
    const words = await route.innerText();
    for (const word of ["image_id", "required", "task_prompt", "max_new_tokens", "classTitle", "number", "200", "else"]) {
      assert.ok(words.includes(word), `${word} is not in ${words}`);
    }
    await operation(page, "get/api/log").locator("summary").click();
    assert.match(await operation(page, "get/api/log").innerText(), /Parameters\s+after/);
    check();
  });

  it("gives calls that are answered", async (test) => {
    const { page } = await open(test, `${server.url}docs`);
    for (const [name, wanted] of [["get/livez", "running"], ["post/list_pretrained_models", "Florence-2-base"], ["get/page/{name}", "import"]]) {
      await operation(page, name).locator("summary").click();
      const command = await operation(page, name).locator("pre").innerText();
      assert.ok((await runProgram("bash", ["-c", `${command} -sf`])).stdout.includes(wanted), command);
    }
  });

  it("finds routes", async (test) => {
    const { page } = await open(test, `${server.url}docs`);
    await page.getByLabel("Filter routes").fill("SPEEDTEST");
    assert.deepEqual(await page.locator(".operation:visible").evaluateAll((all) => all.map((one) => one.id)), ["post/run_speedtest"]);
    assert.equal(await page.locator("#contents a:visible").count(), 1);
    await page.getByLabel("Filter routes").fill("no such thing");
    await page.getByText("No route has this").waitFor();
    await page.getByLabel("Filter routes").fill("");
    await page.locator("#contents a", { hasText: "/get_status" }).click();
    assert.ok(await operation(page, "post/get_status").getAttribute("open") !== null);
  });

  it("is reached from the main page and leads back, below a proxy's prefix", async (test) => {
    const proxy = await startProxy(server.url, "/net/token");
    test.after(proxy.stop);
    const viewer = await openPage(browser, `${proxy.url}/net/token`);
    test.after(viewer.close);
    const { page } = viewer;
    await page.getByRole("link", { name: "API", exact: true }).click();
    await operation(page, "get/livez").waitFor();
    assert.equal(page.url(), `${proxy.url}/net/token/docs`);
    await operation(page, "get/livez").locator("summary").click();
    assert.match(await operation(page, "get/livez").locator("pre").innerText(), new RegExp(`'${proxy.url}/net/token/livez'`));
    assert.equal(await page.getByRole("link", { name: "openapi.json", exact: true }).evaluate((link) => link.href), `${proxy.url}/net/token/openapi.json`);
    await page.getByRole("link", { name: "Page", exact: true }).click();
    await page.locator("#serve-form").waitFor();
    assert.deepEqual(proxy.outside, []);
    viewer.check();
  });

  it("says so when there is no description", async (test) => {
    const viewer = await openPage(browser, "about:blank");
    test.after(viewer.close);
    await viewer.page.route("**/openapi.json", (route) => route.fulfill({ status: 503, body: "" }));
    await viewer.page.goto(`${server.url}docs`);
    await viewer.page.getByRole("alert").filter({ hasText: "503" }).waitFor();
  });

  it("can be used by everybody", async (test) => {
    const { page, check } = await open(test, `${server.url}docs#post/deploy_from_api`);
    await operation(page, "post/deploy_from_api").locator(".inside").waitFor();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await accessibility(page), [], colorScheme);
      await screenshot(page, `docs-${colorScheme}`);
    }
    await page.setViewportSize(PHONE);
    await assertFits(page);
    assert.deepEqual(await accessibility(page), [], "phone");
    await screenshot(page, "docs-phone");
    await page.setViewportSize(DESKTOP);
    check();
  });
});
