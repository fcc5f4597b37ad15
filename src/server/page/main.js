/** The page: asks the server for the state of everything, and shows it. All viewers see the same. */

import { base, get, post } from "./api.js";
import { $, copyOnClick, setText, show } from "./dom.js";
import { renderChooser, startChooser } from "./chooser.js";
import { renderLoading, startLoading } from "./loading.js";
import { startLog } from "./log.js";
import { notify, renderNotices } from "./notices.js";
import { inStaticVersion, tellPlatform } from "./platform.js";
import { renderServed, startServed } from "./served.js";
import { describe } from "./state.js";
import { renderTry, startTry } from "./tryit.js";

const WATCHING_MS = 1000;
const RESTING_MS = 4000;
const HIDDEN_MS = 15_000;
/** After so long without a key or a movement nobody is looking closely. */
const ATTENTION_MS = 60_000;

/**
 * Everything that is shown. `status`, `models` and `devices` are the server's answers, `null` before the first.
 * @type {{reach: "connecting" | "ok" | "none", status: object | null, models: object | null, devices: object | null,
 *         isStatic: boolean}}
 */
const state = { reach: "connecting", status: null, models: null, devices: null, isStatic: inStaticVersion() };

let timer = 0;
let asked = 0;
let lastUse = performance.now();

function render() {
  const told = describe(state);
  setText($("pill-text"), told.text);
  $("pill").dataset.tone = told.tone;
  setText($("announcer"), told.news);
  const { app } = state.status ?? {};
  setText($("app-name"), app?.name ?? "Serve Florence-2");
  if (app) setText($("app-line"), `Florence-2 for Supervisely · ${app.version}${app.mode === "production" ? "" : " · " + app.mode}`);
  show($("session"), app?.session_id != null);
  setText($("session-id"), String(app?.session_id ?? ""));
  document.title = `${told.short} · ${app?.name ?? "Serve Florence-2"}`;
  document.body.classList.toggle("static", state.isStatic);
  renderNotices(state);
  renderLoading(state);
  renderServed(state);
  renderChooser(state);
  renderTry(state);
}

/** Asks for the state, shows it, and goes on asking. */
async function poll() {
  clearTimeout(timer);
  const turn = ++asked;
  try {
    const status = await get("api/status");
    if (turn !== asked) return;
    Object.assign(state, { status, reach: "ok" });
    if (state.models === null) await loadLists();
  } catch {
    if (turn !== asked) return;
    state.reach = "none";
  }
  render();
  if (state.reach === "ok") tellPlatform("init-end");
  timer = setTimeout(poll, pause());
}

function pause() {
  if (document.hidden) return HIDDEN_MS;
  const isWatched = performance.now() - lastUse < ATTENTION_MS;
  return isWatched || state.status?.loading || state.reach !== "ok" ? WATCHING_MS : RESTING_MS;
}

/** What can be chosen; asked again when weights have come, and on request. */
async function loadLists() {
  const [models, devices, { settings }] = await Promise.all([get("api/models"), get("api/devices"), post("get_custom_inference_settings")]);
  Object.assign(state, { models, devices });
  setText($("settings-yaml"), settings);
}

async function reloadLists() {
  try {
    await loadLists();
  } catch (error) {
    notify("lists", error);
  }
  render();
}

function start() {
  tellPlatform("init-start");
  for (const link of document.querySelectorAll("[data-route]")) link.href = base + link.dataset.route;
  for (const button of document.querySelectorAll("[data-copy]")) {
    copyOnClick(button, () => $(button.dataset.copy).innerText);
  }
  copyOnClick($("session"), () => $("session-id").textContent);
  const page = { refresh: poll, reloadLists, state };
  startChooser(page);
  startLoading(page);
  startServed(page);
  startTry(page);
  if (state.isStatic) {
    Object.assign(state, JSON.parse($("snapshot").textContent));
    render();
    return;
  }
  startLog();
  for (const use of ["pointermove", "pointerdown", "keydown", "focusin"]) {
    addEventListener(use, () => (lastUse = performance.now()), { passive: true });
  }
  document.addEventListener("visibilitychange", () => document.hidden || poll());
  render();
  poll();
}

start();
