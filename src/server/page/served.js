/** The model that is served: what it is, what it uses, what it does. */

import { post } from "./api.js";
import { $, make, rebuild, setMeter, setText, show } from "./dom.js";
import { count, duration, humanise, latency, memory, plain, plural } from "./format.js";
import { forget, notify } from "./notices.js";

const CAUSES = { api: "deployed by an API call", autostart: "started by itself", restart: "restored after a restart", page: "from this page", command: "from the command line" };
/** Deployments that were not chosen here, so that their parameters are worth a look. */
const FOREIGN_CAUSES = ["api", "restart"];

/** The model whose info is shown. */
let known = "";

/** @param {{refresh: () => void}} page */
export function startServed({ refresh }) {
  act($("stop"), "stop", "Stopping…", async () => post("api/stop", {}, null), refresh);
  act($("freeze"), "freeze", "Freezing…", freeze, refresh);
}

async function freeze() {
  const { message } = await post("freeze_model", {}, null);
  if (message.startsWith("Failed")) throw new Error(message);
}

/** While something goes on its button says so, and cannot be pressed again. */
function act(button, about, words, action, refresh) {
  const usual = button.textContent;
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    setText(button, words);
    forget(about);
    try {
      await action();
    } catch (error) {
      notify(about, error);
    }
    button.removeAttribute("aria-busy");
    setText(button, usual);
    refresh();
  });
}

/** @param {object} state the page's state */
export function renderServed({ status, reach, isStatic }) {
  const model = status?.model;
  show($("served"), Boolean(model));
  if (!model) {
    known = "";
    return;
  }
  setText($("served-name"), model.name);
  setText($("served-cause"), CAUSES[model.cause] ?? "");
  show($("served-cause"), model.cause in CAUSES);
  setText($("served-source"), [model.custom ? "own checkpoint" : null, model.source].filter(Boolean).join(" · "));
  rebuild($("facts"), facts(status), () => facts(status).map(fact));
  setText($("idle-note"), idleNote(status));
  const isFree = reach === "ok" && !isStatic && !status.stopping;
  $("stop").disabled = !isFree;
  $("freeze").disabled = !isFree || model.state === "frozen";
  const name = [model.name, model.device, model.precision, status.app.session_id, model.cause].join();
  if (isFree && known !== name) {
    known = name;
    $("deploy-fold").open = FOREIGN_CAUSES.includes(model.cause);
    loadInfo(name);
  }
}

/** Everything that is known, each with a second line and a bar where there is a whole. */
function facts({ model, app, memory: used, requests, latency_ms: times }) {
  const gpus = used.gpus.filter(({ id }) => model.device.split(/, */).includes(id));
  return [
    { name: "Device", value: `${model.device} · ${model.precision}`, more: model.hardware },
    ...gpus.map((gpu) => ({ name: `Memory of ${gpu.id}`, ...share(gpu.used_bytes, gpu.total_bytes, "all programs") })),
    { name: "Memory", ...share(used.resident_bytes, used.total_bytes, `peak ${memory(used.peak_bytes ?? 0)}`) },
    {
      name: "Served for",
      value: model.deployed_s === null ? "–" : duration(model.deployed_s),
      more: `process up ${duration(app.uptime_s)}`,
    },
    {
      name: "Answered",
      value: count(requests.answered),
      more: `${count(requests.failed)} failed · ${count(requests.refused)} refused` + (requests.given_up ? ` · ${count(requests.given_up)} given up` : ""),
    },
    { name: "Waiting now", value: plural(requests.held, "picture"), more: `${plural(requests.runs, "run")} under way` },
    {
      name: "Latency",
      value: times ? latency(times.median) : "–",
      more: times ? `median of ${count(times.count)} · p95 ${latency(times.p95)}` : "no answers yet",
    },
  ];
}

function share(used, total, more) {
  if (used == null || !total) return { value: used == null ? "–" : memory(used), more };
  return { value: memory(used), share: used / total, more: `of ${memory(total)} · ${more}` };
}

function fact({ name, value, more, share: filled }) {
  const item = make("div", { className: "fact" }, make("dt", {}, name), make("dd", {}, value));
  if (filled !== undefined) {
    const meter = make("div", { className: "meter thin", role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100 }, make("span"));
    setMeter(meter, filled);
    item.lastChild.append(meter);
  }
  item.append(make("dd", { className: "soft" }, more));
  return item;
}

function idleNote({ model, idle_freeze_s: limit }) {
  if (model.state === "frozen") return "Frozen: the model has left its device. The next request brings it back and waits for it.";
  if (!limit) return "";
  return `After ${duration(limit)} without a request the model leaves its device; the next request brings it back.`;
}

/** What does not change while a model is served, asked once. */
async function loadInfo(name) {
  try {
    const [session, deploy] = await Promise.all([post("get_session_info"), post("get_deploy_info")]);
    if (known !== name) return;
    $("session-info").replaceChildren(...Object.entries(session).flatMap(pair));
    const { deploy_params: parameters, ...info } = deploy;
    setText($("deploy-json"), JSON.stringify({ ...info, deploy_params: parameters }, null, 2));
    showMeta(await post("get_model_meta"));
  } catch {
    // Asked again with the next state.
    if (known === name) known = "";
  }
}

const pair = ([key, value]) => [make("dt", {}, humanise(key)), make("dd", {}, plain(value))];

/** @param {object} meta classes and tags that were used so far */
export function showMeta({ classes, tags }) {
  setText($("meta-count"), String(classes.length + tags.length));
  const chip = (name, color) => {
    const dot = make("i");
    dot.style.background = color;
    return make("li", {}, dot, name);
  };
  $("meta-chips").replaceChildren(...classes.map(({ title, color }) => chip(title, color)), ...tags.map(({ name, color }) => chip(`${name} (tag)`, color)));
}
