// States that a real server passes too quickly, or only on other machines, shown by a stand-in.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, it } from "node:test";

import { GIB, prediction, servedModel, startMock } from "./mock.mjs";
import { DESKTOP, PHONE, accessibility, assertFits, describe, drag, openBrowser, openPage, pill, run, screenshot } from "./support.mjs";

const FAILED_REQUEST = /Failed to load resource/;
const DOWNLOADING = { model_name: "Florence-2-large-ft", step: "downloading", text: "downloading its files", done_bytes: 400e6, total_bytes: 1000e6, cause: "page" };
const UNREACHABLE_HUB = { model_name: "Florence-2-base-ft", message: "the hub does not answer: connection timed out" };

let browser, mock, viewer, page;
before(async () => (browser = await openBrowser()));
after(() => browser.close());
beforeEach(async () => (mock = await startMock()));
afterEach(async () => {
  await viewer?.close();
  await mock.stop();
});

async function open(options) {
  viewer = await openPage(browser, mock.url, options);
  page = viewer.page;
  await page.locator("#models tr").first().waitFor({ state: "attached" });
}

const inference = () => {
  const { body } = mock.state.requests.findLast(({ path }) => path === "inference_image");
  return JSON.parse(body.match(/\r\n\r\n(\{"settings".*\})\r\n/)[1]).settings;
};

describe("the choice", () => {
  it("sends model, device, precision and update", async () => {
    await open();
    await page.getByRole("radio", { name: "potholes-v3" }).check();
    await page.getByLabel("Device", { exact: true }).selectOption("cuda:1");
    assert.match(await page.locator("#device-memory").innerText(), /61\.4 GiB of 79\.2 GiB/);
    assert.deepEqual(await page.locator("#precision option").evaluateAll((all) => all.map(({ value }) => value)), ["auto", "f16", "bf16", "f32"]);
    await page.getByLabel("Precision").selectOption("bf16");
    await page.getByLabel("Update pretrained model").check();
    await page.getByRole("button", { name: "Serve", exact: true }).click();
    await pill(page, "starting");
    const order = mock.state.requests.find(({ path }) => path === "api/serve");
    assert.deepEqual(JSON.parse(order.body), { model: "potholes-v3", device: "cuda:1", precision: "bf16", update: true });
    viewer.check();
  });

  it("offers what the chosen device can do, and shows its memory as it changes", async () => {
    await open();
    await page.getByLabel("Device", { exact: true }).selectOption("cpu");
    assert.deepEqual(await page.locator("#precision option").evaluateAll((all) => all.map(({ value }) => value)), ["auto", "f32", "bf16", "int8"]);
    await page.getByLabel("Device", { exact: true }).selectOption("cuda:0");
    mock.state.status.memory.gpus[0].used_bytes = 40 * GIB;
    await page.locator("#device-memory", { hasText: "40.0 GiB of 79.2 GiB" }).waitFor();
    mock.state.devices.devices.splice(2);
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.locator("#device option[value='cuda:1']").waitFor({ state: "detached" });
    assert.equal(await page.getByLabel("Device", { exact: true }).inputValue(), "cuda:0");
  });

  it("outlives a reload", async () => {
    await open();
    await page.locator("tr", { hasText: "Florence-2-base-ft" }).getByText("0.23B").click();
    await page.getByLabel("Device", { exact: true }).selectOption("cuda:1");
    await page.reload();
    await page.locator("#device option").first().waitFor({ state: "attached" });
    assert.ok(await page.getByRole("radio", { name: "Florence-2-base-ft" }).isChecked());
    assert.equal(await page.getByLabel("Device", { exact: true }).inputValue(), "cuda:1");
  });

  it("tells a refusal in the server's words until it is put away", async () => {
    mock.state.refusal = "device: there is no cuda:7";
    await open();
    await page.getByRole("button", { name: "Serve", exact: true }).click();
    const notice = page.getByRole("alert").filter({ hasText: "Invalid request" });
    assert.match(await notice.innerText(), /there is no cuda:7/);
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "detached" });
    viewer.check({ expected: FAILED_REQUEST });
  });
});

describe("a load", () => {
  it("that fails once more is told once more", async () => {
    mock.state.status.failure = UNREACHABLE_HUB;
    await open();
    const notice = page.getByRole("alert").filter({ hasText: "Florence-2-base-ft could not be loaded" });
    assert.match(await notice.innerText(), /connection timed out[^]*Check that this machine reaches the hub/);
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "detached" });
    Object.assign(mock.state.status, { failure: null, loading: { ...DOWNLOADING } });
    await pill(page, "downloading");
    Object.assign(mock.state.status, { failure: UNREACHABLE_HUB, loading: null });
    await notice.waitFor();
  });

  it("shows its steps, amounts, speed and time left", async (test) => {
    mock.state.status.loading = { ...DOWNLOADING };
    await open();
    await pill(page, "downloading 40 %");
    assert.equal(await page.getByRole("progressbar").getAttribute("aria-valuenow"), "40");
    assert.equal(await page.locator("#steps [aria-current=step]").innerText(), "Download");
    const timer = setInterval(() => (mock.state.status.loading.done_bytes += 5e6), 250);
    test.after(() => clearInterval(timer));
    await page.locator("#loading-rate", { hasText: /^[\d.]+ MB\/s · .+ left$/ }).waitFor();
    clearInterval(timer);
    Object.assign(mock.state.status.loading, { step: "trying", text: "trying it", done_bytes: null, total_bytes: null });
    await pill(page, "warming up");
    assert.equal(await page.getByRole("progressbar").getAttribute("aria-valuenow"), null);
    assert.equal(await page.locator("#loading-text").innerText(), "trying it");
    viewer.check();
  });

  it("leaves the present model in place", async () => {
    Object.assign(mock.state.status, { model: servedModel(), loading: { ...DOWNLOADING, cause: "api" } });
    await open();
    await pill(page, "ready, downloading 40 %");
    assert.equal(await page.locator("#served-name").innerText(), "Florence-2-large");
    assert.match(await page.locator("#loading-title").innerText(), /Florence-2-large-ft, asked for by an API call/);
    await page.locator("#example").click();
    await page.locator("#run:enabled").waitFor();
  });
});

describe("a served model", () => {
  it("is told in figures", async () => {
    Object.assign(mock.state.status, {
      model: servedModel("Florence-2-large", { cause: "api" }),
      requests: { answered: 12840, failed: 3, refused: 41, given_up: 2, held: 6, runs: 1 },
      latency_ms: { median: 41, p95: 1250, count: 200 },
    });
    await open();
    const facts = await page.locator("#facts").innerText();
    for (const told of [/cuda:0 · FP16\s+NVIDIA H100 80GB HBM3/, /3\.10 GiB/, /12 min 34 s/, /12.840\s+3 failed · 41 refused · 2 given up/, /6 pictures\s+1 run under way/, /41 ms\s+median of 200 · p95 1\.25 s/]) {
      assert.match(facts, told);
    }
    assert.match(await page.locator("#idle-note").innerText(), /^After 1 h without a request/);
    // Nobody chose its parameters here.
    assert.ok(await page.locator("#deploy-json").isVisible());
    await page.locator("#session").click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "777");
  });

  it("that could not be updated says so once", async () => {
    mock.state.status.model = servedModel("Florence-2-large", { stale: "the hub does not answer" });
    await open();
    const notice = page.getByRole("alert").filter({ hasText: "Florence-2-large was not updated" });
    assert.match(await notice.innerText(), /the hub does not answer[^]*served with the files that were here/);
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "detached" });
  });

  it("that failed says what to do", async () => {
    Object.assign(mock.state.status, { lost: "CUDA_ERROR_ILLEGAL_ADDRESS", model: servedModel() });
    await open();
    await pill(page, "failed");
    assert.match(await page.getByRole("alert").innerText(), /CUDA_ERROR_ILLEGAL_ADDRESS[^]*platform can start it anew/);
  });
});

describe("what is asked", () => {
  beforeEach(async () => {
    mock.state.status.model = servedModel();
    await open();
    await page.locator("#example").click();
    await page.locator("#run:enabled").waitFor();
  });

  it("has the inputs of its task and nothing else", async () => {
    await page.locator("#text").fill("two dogs");
    await page.locator("#advanced summary").click();
    await page.getByLabel("Least score").fill("0.3");
    await page.getByLabel("Most tokens").fill("64");
    await run(page);
    assert.deepEqual(inference(), { task_prompt: "<CAPTION_TO_PHRASE_GROUNDING>", text: "two dogs", scores: true, conf: 0.3, max_new_tokens: 64 });
    await page.getByLabel("Least score").fill("3");
    await page.locator("#run").click();
    await page.locator("#run-state.bad", { hasText: "Least score" }).waitFor();
    await page.getByLabel("Least score").fill("");
    await page.getByLabel("Most tokens").fill("");
    for (const token of await page.locator("#task option").evaluateAll((all) => all.map(({ value }) => value))) {
      await page.locator("#task").selectOption(token);
      if (token.startsWith("<REGION_TO")) await drag(page, [0.2, 0.2], [0.6, 0.7]);
      await run(page);
      const { task_prompt: task, text, rectangle } = inference();
      assert.equal(task, token);
      assert.equal(text !== undefined, (await page.locator("#text").isVisible()), token);
      assert.equal(rectangle !== undefined, token.startsWith("<REGION_TO"), token);
    }
    viewer.check();
  });

  it("is a mapping where classes are asked for", async () => {
    await page.getByText("Classes", { exact: true }).click();
    await page.getByLabel("Class", { exact: true }).fill("Vehicle");
    await page.getByLabel("Prompts", { exact: true }).fill("car, red truck");
    await page.getByRole("button", { name: "Add a class" }).click();
    await page.keyboard.type("tree");
    await run(page);
    assert.deepEqual(inference().mapping, { Vehicle: ["car", "red truck"], tree: "tree" });
    assert.equal(inference().text, undefined);
    await page.getByRole("button", { name: "Remove the class" }).first().click();
    await run(page);
    assert.deepEqual(inference().mapping, { tree: "tree" });
    await page.getByRole("button", { name: "Remove the class" }).click();
    await page.locator("#run").click();
    await page.locator("#run-state.bad", { hasText: "Name at least one class." }).waitFor();
  });

  it("is about the region that was dragged or typed", async () => {
    await page.locator("#task").selectOption("<REGION_TO_CATEGORY>");
    await page.locator("#run").click();
    await page.locator("#run-state.bad", { hasText: "Drag a rectangle" }).waitFor();
    await drag(page, [0.75, 0.5], [0.25, 0.25]);
    await run(page);
    const [[left, top], [right, bottom]] = inference().rectangle.points.exterior;
    for (const [is, expected] of [[left, 160], [top, 140], [right, 480], [bottom, 280]]) assert.ok(Math.abs(is - expected) <= 2, `${is} for ${expected}`);
    await page.getByLabel("Left").fill("10");
    await run(page);
    assert.equal(inference().rectangle.points.exterior[0][0], 10);
    await page.getByRole("button", { name: "Whole picture" }).click();
    assert.equal(await page.locator("#drawing .marked").count(), 0);
  });
});

describe("an answer", () => {
  beforeEach(async () => {
    mock.state.status.model = servedModel();
    await open();
    await page.locator("#example").click();
    await page.locator("#run:enabled").waitFor();
  });

  it("is drawn with its classes' colours, which can be switched off", async () => {
    await run(page);
    assert.equal(await page.locator("#drawing rect.edge").count(), 3);
    assert.equal(await page.locator("#drawing .shape").first().locator(".edge").getAttribute("stroke"), "#1565D8");
    assert.deepEqual(await page.locator("#drawing text").allTextContents(), ["car 0.93", "car 0.80", "traffic light 0.71"]);
    await page.getByRole("button", { name: "car × 2" }).click();
    assert.equal(await page.locator("#drawing .shape").count(), 1);
    assert.equal(await page.locator("#found li").count(), 1);
    await page.getByRole("button", { name: "car × 2" }).click();
    assert.equal(await page.locator("#drawing .shape").count(), 3);
  });

  it("marks in the drawing what is pointed at in the list, and the other way round", async () => {
    await run(page);
    await page.locator("#found li").nth(2).focus();
    assert.equal(await page.locator("#drawing .shape.active").getAttribute("data-index"), "2");
    await page.locator("#drawing .shape[data-index='1'] .edge").hover();
    await page.locator("#found li.active", { hasText: "0.80" }).waitFor();
    assert.equal(await page.locator("#found li.active").count(), 1);
  });

  it("may be polygons, words in the picture, and words about it", async () => {
    mock.state.answer = prediction(640, 560, "polygons");
    await run(page);
    assert.equal(await page.locator("#drawing polygon.edge").count(), 1);
    mock.state.answer = prediction(640, 560, "lines");
    await run(page);
    assert.deepEqual(await page.locator("#found .name").allInnerTexts(), ["“OPEN 24 HOURS”", "“coffee & cake”"]);
    mock.state.answer = prediction(640, 560, "caption");
    assert.match(await run(page), /^Caption in /);
    assert.match(await page.locator("#picture-tags").innerText(), /A quiet street/);
    assert.equal(await page.locator("#drawing .shape").count(), 0);
  });

  it("says what was dropped and cut", async () => {
    mock.state.answer = { ...prediction(640, 560), data: { dropped_boxes: { low_score: 4 }, truncated_answers: 1 } };
    assert.match(await run(page), /^3 objects in .+; dropped: 4 \(score too low\); 1 answer cut/);
  });

  it("that does not come can be aborted, and an error is told", async () => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    mock.state.answer = async () => {
      await held;
      return [200, prediction(640, 560)];
    };
    await page.locator("#run").click();
    await page.getByRole("button", { name: "Abort" }).click();
    await page.locator("#run-state", { hasText: "Aborted." }).waitFor();
    release();
    mock.state.answer = () => [429, { detail: { title: "Too many requests", message: "The queue is full." } }];
    assert.equal(await run(page), "Too many requests: The queue is full.");
    viewer.check({ expected: FAILED_REQUEST });
  });
});

describe("a session that has ended", () => {
  it("is shown as it was left, without asking anybody", async () => {
    const context = encodeURIComponent(JSON.stringify({ isStaticVersion: true }));
    viewer = await openPage(browser, `${mock.url}?slyContext=${context}`);
    page = viewer.page;
    await pill(page, "session ended");
    assert.ok(await page.locator("#serve").isDisabled());
    assert.ok(await page.locator("#try").isHidden());
    assert.deepEqual(viewer.requests.filter((url) => url.includes("/api/")), []);
    viewer.check();
  });
});

const BUSY = { model: servedModel(), latency_ms: { median: 41, p95: 120, count: 200 }, loading: null };
const STATES = {
  empty: { change: {} },
  loading: { change: { loading: DOWNLOADING } },
  failed: { change: { failure: UNREACHABLE_HUB } },
  frozen: { change: { model: servedModel("Florence-2-base", { state: "frozen", cause: "restart" }) } },
  ready: { change: BUSY, act: run },
  mapping: {
    change: BUSY,
    act: async (page) => {
      await page.getByText("Classes", { exact: true }).click();
      await page.locator("#advanced summary").click();
      await page.locator("summary", { hasText: "Session info" }).click();
      await page.locator("#chooser-summary").click();
    },
  },
  region: {
    change: BUSY,
    act: async (page) => {
      mock.state.answer = prediction(640, 560, "polygons");
      await page.locator("#task").selectOption("<REGION_TO_SEGMENTATION>");
      await drag(page, [0.2, 0.2], [0.6, 0.7]);
      await run(page);
    },
  },
};

describe("every state, in both themes and on a phone", () => {
  for (const [name, { change, act }] of Object.entries(STATES)) {
    it(`${name} can be used by everybody`, async () => {
      mock.state.log = [["info", "listening on http://127.0.0.1:8000"], ["warn", "the queue is full"], ["error", "cannot read picture.jpg"]]
        .map(([level, message], at) => ({ seq: at + 1, time: `2026-11-23T09:05:0${at}.616Z`, level, message }));
      Object.assign(mock.state.status, change);
      await open();
      await page.locator("#log").scrollIntoViewIfNeeded();
      await page.locator("#log p").nth(2).waitFor({ state: "attached" });
      if (act) {
        await page.locator("#example").click();
        await page.locator("#run:enabled").waitFor();
        await act(page);
      }
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        assert.deepEqual(await accessibility(page), [], `${name}, ${colorScheme}`);
        await screenshot(page, `state-${name}-${colorScheme}`);
      }
      await page.setViewportSize(PHONE);
      await assertFits(page);
      assert.deepEqual(await accessibility(page), [], `${name}, phone`);
      await screenshot(page, `state-${name}-phone`);
      await page.setViewportSize(DESKTOP);
      viewer.check();
    });
  }

  it("is dark where that is preferred", async () => {
    await open();
    const colors = [];
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      colors.push(await page.evaluate(() => [document.body, document.querySelector(".card")].map((one) => getComputedStyle(one).backgroundColor.match(/\d+/g).map(Number))));
    }
    const [light, dark] = colors.map((pair) => pair.map(([red, green, blue]) => (red + green + blue) / 3));
    assert.ok(light.every((tone) => tone > 230) && dark.every((tone) => tone < 40), `${light} and ${dark}`);
  });

  it("stands still where that is preferred", async () => {
    mock.state.status.loading = { ...DOWNLOADING, step: "trying", done_bytes: null, total_bytes: null };
    await open({ reducedMotion: "reduce" });
    await pill(page, "warming up");
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  });
});
