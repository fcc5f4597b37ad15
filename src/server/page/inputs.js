/** What is asked about the picture: the task, its inputs, and the settings that they make. */

import { $, make, setText, show } from "./dom.js";
import { recall, remember } from "./keep.js";
import { readMapping, readRows, startMapping } from "./mapping.js";
import { GROUPS, taskOf } from "./tasks.js";

const FILTERS = ["conf", "nms_iou", "max_box_area", "min_box_px", "max_new_tokens"];
const SIDES = ["left", "top", "right", "bottom"];

/** Called with what changed: the task, its region, or anything else. */
let changed = () => {};
/** Whether the user marks a region although the task does not need one. */
let isMarking = false;
/** The text that an example scene has put in, as long as it is unchanged. */
let filledIn = "";

/** @param {(what: "task" | "region" | "input") => void} onChange */
export function startInputs(onChange) {
  changed = (what) => {
    keep();
    onChange(what);
  };
  const option = ({ token, name }) => make("option", { value: token }, name);
  $("task").append(...GROUPS.map(([label, tasks]) => make("optgroup", { label }, ...tasks.map(option))));
  restore(recall("inputs", {}));
  $("task").addEventListener("change", () => {
    showTask();
    changed("task");
  });
  $("input-kind").addEventListener("change", () => {
    showTask();
    changed("input");
  });
  for (const side of SIDES) $(side).addEventListener("input", () => changed("region"));
  $("mark").addEventListener("click", () => {
    isMarking = !isMarking;
    showTask();
    changed("task");
  });
  $("clear-region").addEventListener("click", () => setRegion(null));
  for (const id of ["text", "scores", ...FILTERS]) $(id).addEventListener("input", () => changed("input"));
  showTask();
}

function restore(inputs) {
  $("task").value = taskOf(inputs.task).token;
  $("text").value = inputs.text ?? "";
  filledIn = inputs.filledIn ?? "";
  $("scores").checked = inputs.scores ?? true;
  for (const id of FILTERS) $(id).value = inputs[id] ?? "";
  $("advanced").open = FILTERS.some((id) => $(id).value !== "");
  $("input-kind").querySelector(`[value="${inputs.kind === "mapping" ? "mapping" : "text"}"]`).checked = true;
  startMapping(inputs.rows ?? [], () => changed("input"));
  setSides(inputs.region ?? null);
  isMarking = Boolean(inputs.region) && !taskOf(inputs.task).region;
}

function keep() {
  const filters = Object.fromEntries(FILTERS.map((id) => [id, $(id).value]));
  remember("inputs", {
    task: $("task").value, text: $("text").value, filledIn, scores: $("scores").checked, kind: kind(), rows: readRows(), region: region(), ...filters,
  });
}

export const task = () => taskOf($("task").value);
const kind = () => $("input-kind").querySelector("input:checked").value;
const usesMapping = () => Boolean(task().takes) && kind() === "mapping";

/** Whether dragging over the picture marks a region. */
export const marksRegion = () => Boolean(task().region) || isMarking;

function showTask() {
  const { about, token, takes, example, region: isAboutRegion, isText } = task();
  setText($("task-about"), about);
  setText($("task-token"), token);
  show($("text-fields"), Boolean(takes));
  show($("text-field"), !usesMapping());
  show($("mapping-field"), usesMapping());
  setText($("text-label"), takes ?? "");
  $("text").placeholder = example ?? "";
  setText($("text-hint"), takes === "Phrases" ? "One or several, as in a sentence." : "");
  show($("region-fields"), marksRegion());
  setText($("region-hint"), isAboutRegion ? "– drag over the picture" : "– the model sees this part only");
  show($("scores").parentElement, !isText);
  show($("mark"), !isAboutRegion);
  $("mark").setAttribute("aria-pressed", isMarking);
}

/** The region in whole pixels, both corners inside of it; `null` unless all four sides are given. */
export function region() {
  const values = SIDES.map((side) => $(side).valueAsNumber);
  if (!values.every(Number.isFinite)) return null;
  const [left, top, right, bottom] = values.map((value) => Math.max(0, Math.round(value)));
  return { left: Math.min(left, right), top: Math.min(top, bottom), right: Math.max(left, right), bottom: Math.max(top, bottom) };
}

function setSides(region) {
  for (const side of SIDES) $(side).value = region?.[side] ?? "";
}

/** @param {ReturnType<typeof region>} region */
export function setRegion(region) {
  setSides(region);
  changed("region");
}

/** Fills in an example's phrases, unless the user has written something. */
export function suggestText(phrases) {
  if ($("text").value.trim() !== "" && $("text").value !== filledIn) return;
  $("text").value = filledIn = phrases;
  changed("input");
}

/** The settings of a request, without what is left to the server. */
export function readSettings() {
  const settings = { task_prompt: task().token };
  if (usesMapping()) settings.mapping = readMapping();
  else if (task().takes) settings.text = $("text").value.trim();
  const part = marksRegion() ? region() : null;
  if (part) settings.rectangle = { points: { exterior: [[part.left, part.top], [part.right, part.bottom]], interior: [] } };
  if ($("scores").checked && !task().isText) settings.scores = true;
  for (const id of FILTERS) {
    if ($(id).value !== "") settings[id] = $(id).valueAsNumber;
  }
  return settings;
}

/**
 * What is missing before the model can be asked.
 * @returns {{message: string, field: HTMLElement} | null}
 */
export function problem() {
  const { takes, region: isAboutRegion } = task();
  const wrong = FILTERS.map($).find((field) => !field.validity.valid);
  if (wrong) {
    $("advanced").open = true;
    return { message: `${wrong.parentElement.firstChild.textContent}: ${wrong.validationMessage}`, field: wrong };
  }
  if (usesMapping() && Object.keys(readMapping()).length === 0) {
    return { message: "Name at least one class.", field: $("mapping").querySelector("input") };
  }
  if (takes && !usesMapping() && $("text").value.trim() === "") {
    return { message: "Write what the model should look for.", field: $("text") };
  }
  if (isAboutRegion && !region()) return { message: "Drag a rectangle over the picture, or type its sides.", field: $("left") };
  return null;
}
