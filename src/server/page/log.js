/** The last lines of the server's log, asked for while they are in sight. */

import { get } from "./api.js";
import { $, make } from "./dom.js";
import { recall, remember } from "./keep.js";

const PAUSE_MS = 2000;
const MOST_LINES = 500;
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];

let last = 0;
let inSight = false;
let isAsking = false;

export function startLog() {
  const level = $("log-level");
  level.value = recall("log-level", level.value);
  $("log").dataset.least = level.value;
  level.addEventListener("change", () => {
    $("log").dataset.least = level.value;
    remember("log-level", level.value);
    scrollToEnd();
  });
  new IntersectionObserver(([entry]) => {
    inSight = entry.isIntersecting;
    if (inSight) ask();
  }).observe($("log"));
}

async function ask() {
  if (isAsking || !inSight) return;
  isAsking = true;
  try {
    if (!document.hidden) append(await get(`api/log?after=${last}`));
  } catch {
    // The state says that the server does not answer.
  }
  isAsking = false;
  setTimeout(ask, PAUSE_MS);
}

function append({ last: newest, lines }) {
  // A server that was started anew counts from the beginning.
  if (newest < last) $("log").replaceChildren();
  last = newest;
  if (lines.length === 0) return;
  const log = $("log");
  const wasAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  log.append(...lines.map(line));
  while (log.childElementCount > MOST_LINES) log.firstChild.remove();
  if (wasAtEnd) scrollToEnd();
}

function line({ time, level, message }) {
  const name = level.toLowerCase();
  const known = LEVELS.includes(name) ? name : "info";
  const clock = make("time", { dateTime: time, title: time }, time.slice(11, 19));
  return make("p", { data: { level: known } }, clock, " ", make("b", {}, known), " ", make("span", {}, message));
}

const scrollToEnd = () => ($("log").scrollTop = $("log").scrollHeight);
