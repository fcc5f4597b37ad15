/** The load that is under way: its step, how far it is, how fast, and the way to break it off. */

import { post } from "./api.js";
import { $, make, rebuild, setMeter, setText, show } from "./dom.js";
import { bytes, duration } from "./format.js";
import { notify } from "./notices.js";
import { shareDone } from "./state.js";

const STEPS = ["Find", "Download", "Check", "Load", "Try"];
const POSITIONS = { starting: 0, searching: 0, waiting: 1, downloading: 1, checking: 2, loading: 3, trying: 4 };
const CAUSES = { autostart: "started by itself", api: "asked for by an API call", restart: "after a restart", command: "as the command line says" };

/** The speed is measured over so long. */
const WINDOW_MS = 8000;
/** Before so much time has passed it would only jump. */
const LEAST_MS = 1500;

let samples = [];
let measured = "";

/** @param {{refresh: () => void}} page */
export function startLoading({ refresh }) {
  $("cancel").addEventListener("click", async () => {
    $("cancel").disabled = true;
    try {
      await post("api/cancel");
    } catch (error) {
      notify("cancel", error);
    }
    $("cancel").disabled = false;
    refresh();
  });
}

/** @param {object} state the page's state */
export function renderLoading({ status, reach, isStatic }) {
  const loading = isStatic ? null : status?.loading;
  show($("loading"), Boolean(loading));
  if (!loading) {
    samples = [];
    return;
  }
  const cause = CAUSES[loading.cause];
  setText($("loading-title"), `Loading ${loading.model_name}${cause ? ", " + cause : ""}`);
  const position = POSITIONS[loading.step] ?? 0;
  rebuild($("steps"), position, () => STEPS.map((name, at) => step(name, at - position)));
  const share = shareDone(loading);
  setMeter($("loading-meter"), share);
  setText($("loading-text"), amount(loading, share));
  setText($("loading-rate"), reach === "ok" ? rate(loading) : "");
}

function step(name, distance) {
  const item = make("li", { className: distance < 0 ? "done" : "" }, name);
  if (distance === 0) item.setAttribute("aria-current", "step");
  return item;
}

function amount({ text, done_bytes: done, total_bytes: total }, share) {
  if (share === null) return text;
  return `${bytes(done)} of ${bytes(total)} (${Math.floor(share * 100)} %)`;
}

/** Speed and time left, as this page measures them. */
function rate({ model_name: name, step, done_bytes: done, total_bytes: total }) {
  if (done === null || !total) return "";
  const now = performance.now();
  if (measured !== name + step || done < (samples.at(-1)?.done ?? 0)) samples = [];
  measured = name + step;
  samples.push({ now, done });
  samples = samples.filter((sample) => now - sample.now <= WINDOW_MS);
  const [first] = samples;
  if (now - first.now < LEAST_MS || done === first.done) return "";
  const perSecond = (done - first.done) / ((now - first.now) / 1000);
  return `${bytes(perSecond)}/s · ${duration((total - done) / perSecond)} left`;
}
