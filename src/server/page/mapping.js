/** The editor of a class mapping: rows of a class and the prompts that find its objects. */

import { $, make } from "./dom.js";

/** Called when the user has changed anything. */
let changed = () => {};

/** @param {{name: string, prompts: string}[]} rows @param {() => void} onChange */
export function startMapping(rows, onChange) {
  changed = onChange;
  $("mapping").replaceChildren(...(rows.length ? rows : [{ name: "", prompts: "" }]).map(row));
  $("add-class").addEventListener("click", () => addRow());
}

function addRow() {
  const added = row({ name: "", prompts: "" });
  $("mapping").append(added);
  added.querySelector("input").focus();
}

function row({ name, prompts }) {
  const nameField = make("input", { type: "text", value: name, placeholder: "Vehicle", autocomplete: "off", "aria-label": "Class" });
  const promptsField = make("input", { type: "text", value: prompts, placeholder: "car, red truck", autocomplete: "off", "aria-label": "Prompts" });
  const remove = make("button", { type: "button", className: "quiet small", title: "Remove the class", "aria-label": "Remove the class" }, "✕");
  const line = make("div", { className: "mapping-row" }, nameField, make("span", { "aria-hidden": "true" }, "→"), promptsField, remove);
  remove.addEventListener("click", () => {
    const next = line.nextElementSibling ?? line.previousElementSibling;
    line.remove();
    if (next) next.querySelector("input").focus();
    else addRow();
    changed();
  });
  line.addEventListener("input", () => changed());
  return line;
}

/** The rows as they are written. */
export function readRows() {
  return [...$("mapping").children].map((line) => {
    const [name, prompts] = line.querySelectorAll("input");
    return { name: name.value.trim(), prompts: prompts.value.trim() };
  });
}

/**
 * The setting `mapping`. Rows of one class are taken together.
 * @returns {Record<string, string | string[]>}
 */
export function readMapping() {
  const prompts = new Map();
  for (const { name, prompts: written } of readRows()) {
    const given = written.split(",").map((prompt) => prompt.trim()).filter(Boolean);
    // A class alone is its own prompt.
    if (name) prompts.set(name, [...(prompts.get(name) ?? []), ...(given.length ? given : [name])]);
  }
  return Object.fromEntries([...prompts].map(([name, all]) => [name, all.length === 1 ? all[0] : all]));
}
