/** Asks the served model about a picture. */

import { post, predict } from "./api.js";
import { $, setText, show } from "./dom.js";
import { latency } from "./format.js";
import { problem, readSettings, startInputs } from "./inputs.js";
import { clearResult, redraw, showResult, startResults, summary, tell } from "./results.js";
import { showMeta } from "./served.js";
import { curlCall, pythonCall } from "./snippets.js";
import { picture, setSize, startStage } from "./stage.js";

const TABS = ["python", "curl", "json"];

/** AbortController of the request under way. */
let running = null;
/** The last answer about the present picture. */
let prediction = null;
let tab = TABS[0];
let sessionId = null;
let page = null;

/** @param {{refresh: () => void, state: object}} thePage */
export function startTry(thePage) {
  page = thePage;
  startResults();
  startInputs((what) => {
    if (what !== "input") redraw();
    $("drawing").classList.toggle("marking", !$("region-fields").hidden);
    showPanel();
  });
  $("drawing").classList.toggle("marking", !$("region-fields").hidden);
  startStage((what) => {
    if (what === "picture") forgetAnswer();
    else redraw();
    renderTry(page.state);
    showPanel();
  });
  $("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  $("abort").addEventListener("click", () => running?.abort());
  addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || $("serve-form").contains(event.target)) return;
    event.preventDefault();
    if (!$("run").disabled) run();
  });
  startTabs();
}

/** @param {object} state the page's state */
export function renderTry({ status, reach, isStatic }) {
  const isServed = Boolean(status?.model) && reach === "ok" && !isStatic;
  $("run").disabled = !isServed || !picture();
  const missing = !isServed ? "Serve a model first." : picture() ? null : "Choose a picture first.";
  const usual = status?.model?.state === "frozen" ? "The model comes back from being frozen for it." : "Ctrl + Enter runs as well.";
  setText($("run-note"), missing ?? usual);
  if (sessionId !== (status?.app.session_id ?? null)) {
    sessionId = status?.app.session_id ?? null;
    showPanel();
  }
}

function forgetAnswer() {
  running?.abort();
  running = null;
  setBusy(false);
  prediction = null;
  clearResult();
  tell("");
}

async function run() {
  if (!picture()) return;
  const missing = problem();
  if (missing) {
    tell(missing.message, "bad");
    missing.field.focus();
    return;
  }
  running?.abort();
  const request = (running = new AbortController());
  setBusy(true);
  tell("Running…", "busy");
  const started = performance.now();
  try {
    const answer = await predict(picture(), readSettings(), request.signal);
    const time = latency(performance.now() - started);
    const meta = await post("get_model_meta");
    if (running === request) showAnswer(answer, meta, time);
  } catch (error) {
    if (running === request) fail(error, request.signal.aborted);
  }
  if (running === request) {
    running = null;
    setBusy(false);
    page.refresh();
  }
}

function showAnswer(answer, meta, time) {
  prediction = answer;
  const { width, height } = answer.annotation.size;
  setSize(width, height);
  showResult(answer, meta);
  showMeta(meta);
  tell(summary(answer, time));
  // On a phone the picture is above the button.
  $("stage").scrollIntoView({ block: "nearest" });
  showPanel();
}

function fail(error, isAborted) {
  prediction = null;
  clearResult();
  showPanel();
  if (isAborted) tell("Aborted.");
  else tell(error.title && error.title !== "Invalid request" ? `${error.title}: ${error.message}` : error.message, "bad");
}

function setBusy(isBusy) {
  setText($("run"), isBusy ? "Running…" : "Run");
  show($("abort"), isBusy);
}

/** One tab at a time has the focus, arrows move it. */
function startTabs() {
  for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => selectTab(name));
  $("tabs").addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!by) return;
    selectTab(TABS.at((TABS.indexOf(tab) + by) % TABS.length));
    $(`tab-${tab}`).focus();
  });
  showPanel();
}

function selectTab(name) {
  tab = name;
  for (const other of TABS) {
    $(`tab-${other}`).setAttribute("aria-selected", other === name);
    $(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  $("panel").setAttribute("aria-labelledby", `tab-${name}`);
  showPanel();
}

function showPanel() {
  setText($("panel-text"), panelText());
  const download = $("download-json");
  show(download, tab === "json" && prediction !== null);
  if (!download.hidden) {
    URL.revokeObjectURL(download.href);
    download.href = URL.createObjectURL(new Blob([panelText()], { type: "application/json" }));
    download.download = `${picture().name}.json`;
  }
}

function panelText() {
  const name = picture()?.name ?? "picture.jpg";
  if (tab === "python") return pythonCall(name, readSettings(), sessionId);
  if (tab === "curl") return curlCall(name, readSettings());
  return prediction ? JSON.stringify(prediction.annotation, null, 2) : "Run the model to see the annotation.";
}
