/** Which model to serve, and where. */

import { post } from "./api.js";
import { $, make, rebuild, setMeter, setOptions, setText, show } from "./dom.js";
import { memory } from "./format.js";
import { recall, remember } from "./keep.js";
import { forget, notify } from "./notices.js";

const LOCATIONS = {
  disk: ["on this machine", "here"],
  image: ["on this machine", "here"],
  program: ["built in", "here"],
  hub: ["to download", "away"],
};
const PRECISIONS = { f32: "FP32", f16: "FP16", bf16: "BF16", int8: "INT8" };
const AUTO = "auto";

/** What the user has chosen; the server's defaults stand in for what is missing. */
const choice = recall("choice", {});
let lastLocked = null;
let lastLoading = false;
let isSending = false;
let shown = null;

/** @param {{refresh: () => void, reloadLists: () => Promise<void>, state: object}} page */
export function startChooser(page) {
  $("update").checked = choice.update === true;
  $("models").addEventListener("change", ({ target }) => choose({ model: target.value }));
  $("device").addEventListener("change", () => choose({ device: $("device").value }));
  $("precision").addEventListener("change", () => choose({ precision: $("precision").value }));
  $("update").addEventListener("change", () => choose({ update: $("update").checked }));
  $("refresh").addEventListener("click", async () => {
    setText($("refresh"), "…");
    await page.reloadLists();
    setText($("refresh"), "Refresh");
  });
  $("serve-form").addEventListener("submit", (event) => {
    event.preventDefault();
    serve(page);
  });
  reload = page.reloadLists;
}
let reload = () => {};

function choose(change) {
  remember("choice", Object.assign(choice, change));
  renderChooser(shown);
}

async function serve({ refresh }) {
  const model = $("models").querySelector("input:checked")?.value;
  if (!model || isSending) return;
  isSending = true;
  forget("serve");
  renderChooser(shown);
  try {
    await post("api/serve", { model, device: $("device").value, precision: $("precision").value, update: $("update").checked });
  } catch (error) {
    notify("serve", error);
  }
  isSending = false;
  refresh();
}

/** @param {object} state the page's state */
export function renderChooser(state) {
  shown = state;
  const { status, models, devices, reach, isStatic } = state;
  const served = status?.model?.name;
  const loading = status?.loading?.model_name;
  const isLocked = Boolean(served ?? loading) || Boolean(status?.stopping) || reach !== "ok" || isStatic || isSending;
  if (models) renderModels(models, served ?? loading);
  if (devices) renderDevices(devices, status, served ? status.model : null);
  $("serve-fields").disabled = isLocked;
  setText($("serve"), isSending ? "Asking…" : "Serve");
  setText($("model-hint"), hint(state));
  fold(Boolean(served));
  // Weights that have come are on this machine from now on.
  if (lastLoading && !loading) reload();
  lastLoading = Boolean(loading);
}

function hint({ status, reach, isStatic }) {
  if (isStatic || !status) return isStatic ? "What was served last." : reach === "none" ? "" : "Asking the server…";
  if (status.model && status.loading) return "Requests are answered by the present model until the next one is ready.";
  if (status.model) return "Requests are answered by this model.";
  if (status.loading) return "Requests are answered once it is ready.";
  return "Choose a model and press Serve.";
}

/** While a model is served the list only tells what else there is. */
function fold(isServed) {
  if (isServed === lastLocked) return;
  lastLocked = isServed;
  show($("chooser-summary"), isServed);
  $("chooser").open = !isServed;
}

function renderModels({ models, default: preferred }, inUse) {
  rebuild($("models"), models, () => {
    const published = models.filter(({ kind }) => kind === "pretrained");
    const others = models.filter(({ kind }) => kind !== "pretrained");
    if (others.length === 0) return published.map(row);
    return [group("Published"), ...published.map(row), group("Demo and your own"), ...others.map(row)];
  });
  const radios = [...$("models").querySelectorAll("input")];
  const wanted = [inUse, choice.model, preferred].find((name) => radios.some(({ value }) => value === name));
  for (const radio of radios) radio.checked = radio.value === wanted;
}

function group(title) {
  return make("tr", { className: "group" }, make("th", { colSpan: 6, scope: "colgroup" }, title));
}

function row(model) {
  const [words, tone] = LOCATIONS[model.location] ?? [model.location, "away"];
  const id = `model-${model.name}`;
  const radio = make("input", { type: "radio", name: "model", value: model.name, id });
  const label = make("label", { htmlFor: id }, model.name);
  const line = make(
    "tr",
    {},
    make("td", {}, radio),
    make("td", {}, label, make("span", { className: "about" }, model.description)),
    make("td", { className: "number wide" }, model.size ?? "–"),
    make("td", { className: "number" }, model.map === null ? "–" : model.map.toFixed(1)),
    make("td", { className: "wide" }, model.date ?? "–"),
    make("td", {}, make("span", { className: `tag ${tone}` }, words)),
  );
  line.addEventListener("click", ({ target }) => {
    if (target.closest("label, input") || radio.matches(":disabled")) return;
    radio.focus();
    radio.click();
  });
  return line;
}

function renderDevices({ devices, default: preferred }, status, served) {
  const options = devices.map((device) => ({ value: device.id, text: deviceText(device, status) }));
  if (!devices.some(({ id }) => id === preferred)) {
    options.unshift({ value: preferred, text: preferred === AUTO ? "Automatic" : preferred });
  }
  const select = $("device");
  if (select.length === 0 && choice.device) setOptions(select, options, choice.device);
  setOptions(select, options, preferred);
  if (served && options.some(({ value }) => value === served.device)) select.value = served.device;
  else if (options.some(({ value }) => value === choice.device)) select.value = choice.device;
  const device = devices.find(({ id }) => id === select.value);
  renderMemory(device, status);
  renderPrecisions(device);
}

/** Used memory of a device: of GPUs as the last state tells, else as the list of devices did. */
function usage(device, status) {
  if (device.id === "cpu") return { used: status?.memory.resident_bytes, total: device.total_bytes, whose: "used by this app" };
  const live = status?.memory.gpus.find(({ id }) => id === device.id);
  return { used: live?.used_bytes ?? device.used_bytes, total: live?.total_bytes ?? device.total_bytes, whose: "used by all programs" };
}

function deviceText(device, status) {
  if (device.id === "cpu") return `CPU – ${device.name}`;
  const { used, total } = usage(device, status);
  const text = device.name === device.id ? device.id : `${device.name} (${device.id})`;
  return total ? `${text} – ${memory(used)} of ${memory(total)}` : text;
}

function renderMemory(device, status) {
  const { used, total, whose } = device ? usage(device, status) : {};
  const isKnown = used != null && Boolean(total);
  show($("device-meter"), isKnown);
  if (isKnown) setMeter($("device-meter"), used / total);
  const automatic = device ? "" : "The GPU with the most free memory, or the CPU where there is none.";
  setText($("device-memory"), isKnown ? `${memory(used)} of ${memory(total)} ${whose}` : automatic);
}

function renderPrecisions(device) {
  const precisions = device?.precisions ?? Object.keys(PRECISIONS);
  const natural = device ? (device.id === "cpu" ? "f32" : "f16") : null;
  const options = [
    { value: AUTO, text: natural ? `Automatic (${PRECISIONS[natural]})` : "Automatic (FP16 on GPUs)" },
    ...precisions.map((precision) => ({ value: precision, text: PRECISIONS[precision] ?? precision })),
  ];
  setOptions($("precision"), options, choice.precision ?? AUTO);
}
