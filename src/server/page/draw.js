/** Draws labels over the picture, in pixels of the screen: lines and letters have the same size on every picture. */

import { $, svg } from "./dom.js";

const TAG_HEIGHT = 20;
const TAG_PADDING = 6;

/**
 * @typedef {object} Found
 * @property {number} index position in the annotation
 * @property {string} title class, without the ending that names its geometry
 * @property {string} text words that were read there, or empty
 * @property {number | undefined} score
 * @property {string} color
 * @property {boolean} isRectangle
 * @property {[number, number][]} points in the picture's pixels; of rectangles two corners, both inside
 */

/**
 * @param {Found[]} found
 * @param {{width: number, height: number}} size of the picture
 * @param {{left: number, top: number, right: number, bottom: number} | null} region
 */
export function draw(found, size, region) {
  const drawing = $("drawing");
  const { clientWidth: width, clientHeight: height } = drawing;
  drawing.replaceChildren();
  if (!size || !width) return;
  const view = { x: width / size.width, y: height / size.height, width, height };
  if (region) drawing.append(...drawRegion(region, view));
  const shapes = found.map((one) => drawShape(one, view));
  // Small shapes lie above those that surround them.
  const byArea = [...shapes].sort((a, b) => b.area - a.area);
  drawing.append(...byArea.map(({ group }) => group));
  const taken = [];
  for (const shape of byArea) drawTag(shape, view, taken);
}

function drawRegion({ left, top, right, bottom }, view) {
  const [x, y] = [left * view.x, top * view.y];
  const [width, height] = [(right - left + 1) * view.x, (bottom - top + 1) * view.y];
  const outside = `M0 0H${view.width}V${view.height}H0ZM${x} ${y}v${height}h${width}v${-height}Z`;
  return [
    svg("path", { class: "outside", d: outside, "fill-rule": "evenodd" }),
    svg("rect", { class: "marked", x, y, width, height }),
  ];
}

function drawShape(one, view) {
  const points = one.points.map(([x, y]) => [x * view.x, y * view.y]);
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  // Corners belong to the rectangle, hence one pixel more.
  const [width, height] = [Math.max(...xs) - left + view.x, Math.max(...ys) - top + view.y];
  const paint = { stroke: one.color, fill: one.color };
  const edge = one.isRectangle
    ? svg("rect", { class: "edge", x: left, y: top, width, height, rx: 2, ...paint })
    : svg("polygon", { class: "edge", points: points.map((point) => point.join(",")).join(" "), ...paint });
  const group = svg("g", { class: "shape", "data-index": one.index }, edge);
  return { one, group, left, top, bottom: top + height, area: width * height };
}

/** Above the shape, or where no other tag is in the way. */
function drawTag({ one, group, left, top, bottom }, view, taken) {
  const words = [one.text || one.title, one.score?.toFixed(2)].filter(Boolean).join(" ");
  const text = svg("text", { fill: isLight(one.color) ? "#000" : "#fff" }, shorten(words));
  group.append(text);
  const width = text.getComputedTextLength() + 2 * TAG_PADDING;
  const x = Math.max(0, Math.min(left, view.width - width));
  const rows = [top - TAG_HEIGHT, top, bottom, bottom - TAG_HEIGHT, top + TAG_HEIGHT].map((y) => Math.max(0, Math.min(y, view.height - TAG_HEIGHT)));
  const y = rows.find((row) => !taken.some((tag) => overlaps(tag, { x, y: row, width }))) ?? rows[0];
  taken.push({ x, y, width });
  text.setAttribute("x", x + TAG_PADDING);
  text.setAttribute("y", y + TAG_HEIGHT - 6);
  text.before(svg("rect", { class: "label", fill: one.color, x, y, width, height: TAG_HEIGHT, rx: 4 }));
}

const overlaps = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && Math.abs(a.y - b.y) < TAG_HEIGHT;

const shorten = (text) => (text.length > 48 ? `${text.slice(0, 47)}…` : text);

/** Whether dark letters are easier to read on the colour. */
export function isLight(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

/** Marks one shape, or none. @param {number | null} index */
export function highlight(index) {
  const drawing = $("drawing");
  drawing.classList.toggle("focused", index !== null);
  for (const shape of drawing.querySelectorAll(".shape")) shape.classList.toggle("active", Number(shape.dataset.index) === index);
}
