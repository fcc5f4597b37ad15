/** The picture: choosing it, and marking a region on it. */

import { $, setText, show } from "./dom.js";
import { bytes } from "./format.js";
import { marksRegion, setRegion, suggestText } from "./inputs.js";
import { recall, recallPicture, remember, rememberPicture } from "./keep.js";
import { drawScene } from "./scene.js";

/** Shorter movements are clicks. */
const LEAST_DRAG_PX = 4;

/** @type {File | null} */
let file = null;
/** Size of the picture, turned upright; `null` while unknown and where the browser cannot show it. */
let size = null;
let changed = () => {};

export const picture = () => file;
export const pictureSize = () => size;

/** @param {(what: "picture" | "size") => void} onChange */
export function startStage(onChange) {
  changed = onChange;
  $("file").addEventListener("change", () => choose($("file").files[0]));
  $("example").addEventListener("click", showExample);
  $("picture").addEventListener("load", () => setSize($("picture").naturalWidth, $("picture").naturalHeight));
  $("picture").addEventListener("error", () => {
    if (!file) return;
    setText($("picture-note"), "This browser cannot show the file; the server may still read it.");
    show($("picture-note"), true);
  });
  listenForDrops();
  document.addEventListener("paste", ({ clipboardData }) => choose(clipboardData.files[0]));
  listenForDrags();
  recallPicture().then((kept) => file || choose(kept, true));
}

/** Shows a picture. @param {File | undefined} chosen @param {boolean} isKept whether it is stored already */
function choose(chosen, isKept = false) {
  if (!chosen) return;
  file = chosen;
  size = null;
  URL.revokeObjectURL($("picture").src);
  const url = URL.createObjectURL(file);
  $("picture").src = url;
  $("picture").alt = `The chosen picture, ${file.name}`;
  show($("frame"), true);
  show($("empty"), false);
  show($("picture-note"), false);
  setText($("file-name"), `${file.name} · ${bytes(file.size)}`);
  Object.assign($("save-picture"), { href: url, download: file.name });
  show($("save-picture"), file.name.startsWith("example-scene"));
  if (!isKept) {
    rememberPicture(file);
    setRegion(null);
  }
  changed("picture");
}

/** Also for pictures that the browser cannot show, once the server has told their size. */
export function setSize(width, height) {
  if (size?.width === width && size?.height === height) return;
  size = { width, height };
  $("frame").style.setProperty("--ratio", width / height);
  setText($("file-name"), `${file.name} · ${width} × ${height} · ${bytes(file.size)}`);
  changed("size");
}

async function showExample() {
  const number = recall("scene", 0);
  remember("scene", number + 1);
  const { file: scene, phrases } = await drawScene(number);
  choose(scene);
  suggestText(phrases);
}

function listenForDrops() {
  const over = (isOver) => $("stage").classList.toggle("over", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    choose(event.dataTransfer.files[0]);
  });
}

/** A rectangle is dragged from corner to corner. */
function listenForDrags() {
  const drawing = $("drawing");
  let start = null;
  drawing.addEventListener("pointerdown", (event) => {
    if (!marksRegion() || !size || event.button !== 0) return;
    start = event;
    drawing.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  drawing.addEventListener("pointermove", (event) => {
    if (!start) return;
    const moved = Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY);
    if (moved >= LEAST_DRAG_PX) setRegion(between(start, event));
  });
  for (const end of ["pointerup", "pointercancel"]) drawing.addEventListener(end, () => (start = null));
}

/** The region between two points of the screen, in the picture's pixels. */
function between(one, other) {
  const frame = $("drawing").getBoundingClientRect();
  const pixel = (at, from, length, count) => Math.min(count - 1, Math.max(0, Math.floor(((at - from) / length) * count)));
  const columns = [one, other].map(({ clientX }) => pixel(clientX, frame.left, frame.width, size.width));
  const rows = [one, other].map(({ clientY }) => pixel(clientY, frame.top, frame.height, size.height));
  return { left: Math.min(...columns), top: Math.min(...rows), right: Math.max(...columns), bottom: Math.max(...rows) };
}
