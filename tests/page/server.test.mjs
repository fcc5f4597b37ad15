// The page with the real server: from nothing to boxes, and everything on the way.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { startHub } from "./hub.mjs";
import { describe, drag, openBrowser, openPage, pill, run, screenshot, serveModel, startServer } from "./support.mjs";

const runProgram = promisify(execFile);
const FAILED_REQUEST = /Failed to load resource/;
/** The suite of the platform's SDK installs it there. */
const PYTHON = fileURLToPath(new URL("../../target/sdk-venv/bin/python", import.meta.url));

let browser;
before(async () => (browser = await openBrowser()));
after(() => browser.close());

/** Shapes that are drawn, and lines of the list: always the same number. */
async function found(page) {
  const shapes = await page.locator("#drawing .shape").count();
  assert.equal(await page.locator("#found li").count(), shapes);
  return shapes;
}

describe("with the demo model", () => {
  let server, viewer, page;
  before(async () => {
    server = await startServer({ ENV: "production", TASK_ID: "777", APP_NAME: "Serve Florence-2" });
    viewer = await openPage(browser, server.url);
    page = viewer.page;
  });
  after(async () => {
    await viewer?.close();
    await server?.stop();
  });

  it("lists the models and waits for a choice", async () => {
    await pill(page, "not deployed");
    assert.ok((await page.locator("#models tr:not(.group)").count()) >= 5);
    assert.ok(await page.getByRole("radio", { name: "Florence-2-large", exact: true }).isChecked());
    assert.match(await page.locator("#models").innerText(), /Florence-2-large-ft[^]*0\.77B\s+43\.4\s+2024-12-10\s+to download/);
    assert.match(await page.locator("#device option").first().innerText(), /^(CPU|Automatic)/);
    assert.ok(await page.locator("#run").isDisabled());
    assert.match(await page.locator("#settings-yaml").innerText(), /task_prompt:/);
  });

  it("serves the chosen one", async () => {
    await page.getByRole("radio", { name: "demo" }).check();
    await serveModel(page, "demo");
    assert.equal(await page.locator("#served-name").innerText(), "demo");
    assert.ok(await page.locator("#serve").isDisabled());
    assert.match(await page.locator("#facts").innerText(), /cpu · FP32/);
    await page.locator("summary", { hasText: "Session info" }).click();
    assert.match(await page.locator("#session-info").innerText(), /Task type\s+prompt-based object detection/);
    await page.locator("summary", { hasText: "Deploy parameters" }).click();
    assert.equal(JSON.parse(await page.locator("#deploy-json").innerText()).model_name, "demo");
  });

  it("finds the phrases of an example scene", async () => {
    await page.locator("#example").click();
    await page.locator("#frame").waitFor();
    const phrases = (await page.locator("#text").inputValue()).split(/, | and /);
    assert.ok(phrases.length >= 3);
    assert.match(await run(page), /^\d+ objects? in /);
    assert.equal(await found(page), phrases.length);
    const names = await page.locator("#found .name").allInnerTexts();
    assert.deepEqual(names.sort(), phrases.sort());
    assert.match(await page.locator("#found .score").first().innerText(), /^0\.\d\d$|^1\.00$/);
    await screenshot(page, "ready");
  });

  it("finds every shape of many scenes", async () => {
    let asked = 0;
    let answered = 0;
    for (let scene = 0; scene < 8; scene++) {
      const before = await page.locator("#file-name").innerText();
      await page.locator("#example").click();
      await page.waitForFunction((old) => document.getElementById("file-name").innerText !== old, before);
      asked += (await page.locator("#text").inputValue()).split(/, | and /).length;
      await run(page);
      answered += await found(page);
    }
    // The demo model is not perfect, and need not be.
    assert.ok(answered >= 0.95 * asked, `${answered} of ${asked} shapes`);
  });

  it("switches the task", async () => {
    await page.locator("#task").selectOption("<OD>");
    assert.ok(await page.locator("#text-fields").isHidden());
    await run(page);
    assert.ok((await found(page)) >= 2);
    await page.locator("#task").selectOption("<CAPTION>+<CAPTION_TO_PHRASE_GROUNDING>");
    await run(page);
    assert.ok((await found(page)) >= 2);
  });

  it("names what a mapping finds by its classes", async () => {
    await page.locator("#task").selectOption("<CAPTION_TO_PHRASE_GROUNDING>");
    const [first, second] = (await page.locator("#text").inputValue()).split(/, | and /);
    await page.getByText("Classes", { exact: true }).click();
    await page.getByLabel("Class", { exact: true }).fill("Thing");
    await page.getByLabel("Prompts", { exact: true }).fill(`${first}, ${second}`);
    await run(page);
    assert.equal(await found(page), 2);
    assert.deepEqual(await page.locator("#found .name").allInnerTexts(), ["Thing", "Thing"]);
    await screenshot(page, "mapping");
    await page.getByLabel("Phrases").first().check({ force: true });
  });

  it("looks at a region only", async () => {
    await page.locator("#task").selectOption("<OD>");
    await page.locator("#mark").click();
    await drag(page, [0.02, 0.02], [0.5, 0.98]);
    assert.ok(await page.locator("#drawing .marked").isVisible());
    const right = Number(await page.locator("#right").inputValue());
    await run(page);
    for (const extent of await page.locator("#found .soft").allInnerTexts()) {
      const [, width, left] = extent.match(/^(\d+) × \d+ at (\d+),/).map(Number);
      assert.ok(left + width - 1 <= right, `${extent} is right of ${right}`);
    }
    await page.locator("#mark").click();
    await page.locator("#task").selectOption("<CAPTION_TO_PHRASE_GROUNDING>");
  });

  it("shows the annotation, copies and saves it", async () => {
    await run(page);
    await page.getByRole("tab", { name: "Annotation JSON" }).click();
    const shown = JSON.parse(await page.locator("#panel-text").innerText());
    assert.equal(shown.objects.length, await found(page));
    await page.locator(".output").getByRole("button", { name: "Copy" }).click();
    await page.locator(".output").getByText("Copied").waitFor();
    assert.deepEqual(JSON.parse(await page.evaluate(() => navigator.clipboard.readText())), shown);
    const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#download-json").click()]);
    assert.match(saved.suggestedFilename(), /\.json$/);
    assert.deepEqual(JSON.parse(await readFile(await saved.path(), "utf8")), shown);
  });

  it("gives calls that answer the same", async (test) => {
    const folder = await mkdtemp(join(tmpdir(), "call-"));
    const [saved] = await Promise.all([page.waitForEvent("download"), page.locator("#save-picture").click()]);
    await saved.saveAs(join(folder, saved.suggestedFilename()));
    await page.locator("#text").fill("it's \"a $red\" `circle`; a blue star");
    await run(page);
    const shown = JSON.parse(await page.locator("#panel-text").innerText());
    await page.getByRole("tab", { name: "curl" }).click();
    const { stdout } = await runProgram("bash", ["-c", await page.locator("#panel-text").innerText()], { cwd: folder });
    assert.deepEqual(JSON.parse(stdout).annotation, shown);
    await page.getByRole("tab", { name: "Python SDK" }).click();
    const program = await page.locator("#panel-text").innerText();
    assert.match(program, /task_id=777/);
    if (existsSync(PYTHON)) {
      const script = `import json\n${program.replace("print(predictions[0].annotation.to_json())", "print(json.dumps(predictions[0].annotation.to_json()))")}`;
      const { stdout: printed } = await runProgram(PYTHON, ["-c", script], { cwd: folder });
      const objects = JSON.parse(printed.trim().split("\n").at(-1)).objects;
      assert.deepEqual(objects.map(({ points }) => points), shown.objects.map(({ points }) => points));
    } else {
      test.diagnostic("the SDK is not installed: its call was not made");
    }
    await rm(folder, { recursive: true });
  });

  it("takes dropped and pasted pictures", async () => {
    const bytes = [...(await readFile(new URL("../fixtures/scenes/scene_00.png", import.meta.url)))];
    const deliver = (kind, name) => page.evaluate(({ bytes, kind, name }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
      const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }) : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
      document.getElementById("stage").dispatchEvent(event);
    }, { bytes, kind, name });
    await deliver("drop", "dropped.png");
    await page.locator("#file-name", { hasText: "dropped.png · 320 × 320" }).waitFor();
    await deliver("paste", "pasted.png");
    await page.locator("#file-name", { hasText: "pasted.png · 320 × 320" }).waitFor();
    await page.locator("#text").fill("a red circle");
    await run(page);
    assert.equal(await found(page), 1);
  });

  it("keeps picture, task and inputs over a reload", async () => {
    await page.locator("#task").selectOption("<OPEN_VOCABULARY_DETECTION>");
    await page.locator("#text").fill("a red circle");
    await page.locator("#advanced").evaluate((details) => (details.open = true));
    await page.locator("#conf").fill("0.25");
    await page.reload();
    await pill(page, "ready");
    await page.locator("#file-name", { hasText: "pasted.png · 320 × 320" }).waitFor();
    assert.equal(await page.locator("#task").inputValue(), "<OPEN_VOCABULARY_DETECTION>");
    assert.equal(await page.locator("#text").inputValue(), "a red circle");
    assert.equal(await page.locator("#conf").inputValue(), "0.25");
    assert.equal(await page.locator("#served-name").innerText(), "demo");
    await page.locator("#conf").fill("");
    await page.locator("#task").selectOption("<CAPTION_TO_PHRASE_GROUNDING>");
    await run(page);
    assert.equal(await found(page), 1);
  });

  it("tells what is wrong with a request", async () => {
    await page.locator("#text").fill("");
    await page.locator("#run").click();
    await page.locator("#run-state.bad", { hasText: "Write what the model should look for." }).waitFor();
    await page.locator("#file").setInputFiles({ name: "broken.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
    await page.locator("#picture-note", { hasText: "cannot show the file" }).waitFor();
    await page.locator("#text").fill("a red circle");
    assert.match(await run(page), /broken\.png/);
    assert.ok(await page.locator("#run-state.bad").isVisible());
  });

  it("shows the log", async () => {
    await page.locator("#log").scrollIntoViewIfNeeded();
    await page.locator("#log p", { hasText: "listening on" }).waitFor();
    await page.locator("#log-level").selectOption("error");
    assert.ok(await page.locator("#log p", { hasText: "listening on" }).isHidden());
    await page.locator("#log-level").selectOption("info");
  });

  it("freezes the model, which comes back with the next request", async () => {
    await page.getByRole("button", { name: "Freeze now" }).click();
    await pill(page, "frozen");
    await page.locator("#example").click();
    await page.locator("#file-name", { hasText: "example-scene" }).waitFor();
    await run(page);
    await pill(page, "ready");
  });

  it("stops, and another model can be chosen", async () => {
    await page.getByRole("button", { name: "Stop and choose another model" }).click();
    await pill(page, "not deployed");
    assert.ok(await page.locator("#serve").isEnabled());
    assert.ok(await page.locator("#run").isDisabled());
    assert.ok(await page.getByRole("radio", { name: "demo" }).isChecked());
  });

  it("has asked no other host, and nothing went wrong in it", () => viewer.check({ expected: FAILED_REQUEST }));
});

describe("with a slow hub", () => {
  let hub, server, first, second;
  before(async () => {
    hub = await startHub(400);
    server = await startServer({ HF_ENDPOINT: hub.endpoint, HF_HUB_OFFLINE: "" });
    first = await openPage(browser, server.url);
    second = await openPage(browser, server.url);
  });
  after(async () => {
    await first?.close();
    await second?.close();
    await server?.stop();
    await hub?.stop();
  });

  it("shows a download to every viewer and lets any of them cancel it", async () => {
    await first.page.getByRole("radio", { name: "Florence-2-base", exact: true }).check();
    await first.page.getByRole("button", { name: "Serve", exact: true }).click();
    for (const { page } of [first, second]) {
      await pill(page, /downloading \d+ %/);
      await page.locator("#loading-text", { hasText: /of 3\d\d kB \(\d+ %\)/ }).waitFor();
      assert.equal(await page.locator("#loading-title").innerText(), "Loading Florence-2-base");
      assert.ok(await page.locator("#serve").isDisabled());
      assert.ok(await page.getByRole("radio", { name: "Florence-2-base", exact: true }).isChecked());
    }
    await first.page.locator("#loading-rate", { hasText: /kB\/s · .+ left/ }).waitFor();
    await screenshot(first.page, "downloading");
    await second.page.getByRole("button", { name: "Cancel" }).click();
    for (const { page } of [first, second]) await page.locator("#loading").waitFor({ state: "hidden" });
    assert.ok(await first.page.locator("#serve").isEnabled());
  });

  it("goes on after a reload, and tells that the weights are here", async () => {
    await first.page.getByRole("button", { name: "Serve", exact: true }).click();
    await pill(first.page, /downloading \d+ %/);
    await first.page.reload();
    await pill(first.page, /downloading \d+ %/);
    hub.pauseMs = 0;
    for (const { page } of [first, second]) await pill(page, "ready");
    await first.page.locator("#chooser-summary").click();
    await first.page.locator("tr", { hasText: "Florence-2-base" }).first().getByText("on this machine").waitFor();
  });

  it("agrees on what stops", async () => {
    await second.page.getByRole("button", { name: "Stop and choose another model" }).click();
    for (const { page } of [first, second]) await pill(page, "not deployed");
    first.check();
    second.check();
  });
});

describe("without the hub", () => {
  it("tells why a model could not be loaded, also after a reload", async (test) => {
    const server = await startServer();
    test.after(server.stop);
    const { page, check, close } = await openPage(browser, server.url);
    test.after(close);
    await pill(page, "not deployed");
    await page.getByRole("button", { name: "Serve", exact: true }).click();
    const notice = page.locator("#notices .notice", { hasText: "Florence-2-large could not be loaded" });
    await notice.waitFor();
    await pill(page, "failed");
    await screenshot(page, "failed");
    await page.reload();
    await notice.waitFor();
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "hidden" });
    await serveModel(page, "demo");
    check();
  });

  it("says so when the server has gone", async (test) => {
    const server = await startServer({}, ["--model", "demo"]);
    test.after(server.stop);
    const { page, check, close } = await openPage(browser, server.url);
    test.after(close);
    await pill(page, "ready");
    await server.stop();
    await pill(page, "unreachable");
    await page.locator("#notices", { hasText: "The server does not answer" }).waitFor();
    assert.ok(await page.locator("#run").isDisabled());
    check({ expected: FAILED_REQUEST });
  });
});
