/** The answer about the picture: what was found, as drawing and as lists, and what was written about the picture. */

import { $, make, setText, show } from "./dom.js";
import { draw, highlight } from "./draw.js";
import { humanise, plural } from "./format.js";
import { marksRegion, region } from "./inputs.js";
import { pictureSize } from "./stage.js";

const FALLBACK_COLOR = "#E6194B";
const REASONS = { low_score: "score too low", too_small: "too small", too_large: "too large", repeated: "overlap" };

/** @type {import("./draw.js").Found[]} */
let found = [];
/** Classes that are switched off, until another picture is asked about. */
let hidden = new Set();

export function startResults() {
  new ResizeObserver(redraw).observe($("drawing"));
  $("drawing").addEventListener("pointerover", ({ target }) => mark(target.closest(".shape")?.dataset.index));
  $("drawing").addEventListener("pointerleave", () => mark(undefined));
  const list = $("found");
  for (const [enter, leave] of [["pointerover", "pointerleave"], ["focusin", "focusout"]]) {
    list.addEventListener(enter, ({ target }) => mark(target.closest("[data-index]")?.dataset.index));
    list.addEventListener(leave, () => mark(undefined));
  }
}

/** Marks an object in the drawing and in the list. */
function mark(index) {
  const number = index === undefined ? null : Number(index);
  highlight(number);
  for (const item of $("found").querySelectorAll("[data-index]")) item.classList.toggle("active", Number(item.dataset.index) === number);
}

/** @param {object} prediction @param {object} meta the classes' colours */
export function showResult({ annotation }, meta) {
  const colors = new Map(meta.classes.map(({ title, color }) => [title, color]));
  found = annotation.objects.map((object, index) => read(object, index, colors));
  const titles = new Set(found.map(({ title }) => title));
  hidden = new Set([...hidden].filter((title) => titles.has(title)));
  showTags(annotation.tags);
  showClasses();
  showFound();
  show($("outcome"), found.length + annotation.tags.length > 0);
  const drawn = found.length === 0 ? "Nothing was found" : `${plural(found.length, "found object")}, listed below`;
  $("drawing").setAttribute("aria-label", drawn);
  redraw();
}

export function clearResult() {
  found = [];
  show($("outcome"), false);
  $("found").replaceChildren();
  $("classes").replaceChildren();
  redraw();
}

/** @returns {import("./draw.js").Found} */
function read({ classTitle, tags, points, geometryType }, index, colors) {
  const tag = (name) => tags.find((one) => one.name === name)?.value;
  return {
    index,
    title: classTitle.replace(/_(bbox|polygon)$/, ""),
    text: tag("text") ?? "",
    score: tag("confidence"),
    color: colors.get(classTitle) ?? FALLBACK_COLOR,
    isRectangle: geometryType === "rectangle",
    points: points.exterior,
  };
}

export function redraw() {
  draw(found.filter(({ title }) => !hidden.has(title)), pictureSize(), marksRegion() ? region() : null);
}

/** What was written about the whole picture. */
function showTags(tags) {
  $("picture-tags").replaceChildren(...tags.flatMap(({ name, value }) => [make("dt", {}, name), make("dd", {}, String(value))]));
}

function swatch(color) {
  const dot = make("i");
  dot.style.background = color;
  return dot;
}

function showClasses() {
  const groups = groupByTitle();
  show($("classes"), groups.size > 1);
  $("classes").replaceChildren(...[...groups].map(([title, all]) => {
    const toggle = make("button", { type: "button", "aria-pressed": !hidden.has(title) }, swatch(all[0].color), `${title} × ${all.length}`);
    toggle.addEventListener("click", () => {
      if (!hidden.delete(title)) hidden.add(title);
      toggle.setAttribute("aria-pressed", !hidden.has(title));
      showFound();
      redraw();
    });
    return make("li", {}, toggle);
  }));
}

function groupByTitle() {
  const groups = new Map();
  for (const one of found) groups.set(one.title, [...(groups.get(one.title) ?? []), one]);
  return groups;
}

function showFound() {
  const items = found.filter(({ title }) => !hidden.has(title)).map((one) => {
    const name = make("span", { className: "name" }, one.text ? `“${one.text}”` : one.title);
    const score = make("span", { className: "score" }, one.score === undefined ? "" : one.score.toFixed(2));
    return make("li", { tabIndex: 0, data: { index: one.index } }, swatch(one.color), name, score, make("span", { className: "soft" }, extent(one)));
  });
  $("found").replaceChildren(...items);
}

/** `120 × 80 at 14, 30`. */
function extent({ points }) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return `${Math.max(...xs) - left + 1} × ${Math.max(...ys) - top + 1} at ${left}, ${top}`;
}

/**
 * The answer in a line.
 * @param {object} prediction
 * @param {string} time
 */
export function summary({ annotation, data }, time) {
  const { objects, tags } = annotation;
  const parts = objects.length || !tags.length ? [plural(objects.length, "object")] : [];
  if (tags.length) parts.push(tags.map(({ name }) => name).join(", "));
  const notes = [];
  const dropped = Object.entries(data?.dropped_boxes ?? {});
  if (dropped.length) notes.push(`dropped: ${dropped.map(([reason, number]) => `${number} (${REASONS[reason] ?? reason})`).join(", ")}`);
  if (data?.truncated_answers) notes.push(`${plural(data.truncated_answers, "answer")} cut at the most tokens`);
  return humanise([`${parts.join(", ")} in ${time}`, ...notes].join("; "));
}

/** @param {string} text @param {"" | "bad" | "busy"} tone */
export function tell(text, tone = "") {
  const state = $("run-state");
  show(state, text !== "");
  state.className = `notice ${tone}`;
  setText(state, text);
}
