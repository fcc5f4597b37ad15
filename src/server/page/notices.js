/** Errors, as messages that say what happened and what to do. */

import { $, make, rebuild } from "./dom.js";

/** What helps, by what the message is about. */
const ADVICE = [
  [/out of memory|not enough memory|allocat/i, "Choose a smaller model, a lower precision or another device, or free memory on this one."],
  [/no space|disk|quota/i, "Free some space where the weights are kept, then serve the model again."],
  [/hash|sha-?256|damaged|truncated|corrupt/i, "Serve it again with “Update pretrained model” ticked, which fetches the files anew."],
  [/hub|resolve|connect|download|fetch|timed? ?out|dns|offline|network/i, "Check that this machine reaches the hub and serve the model again: what was fetched already is kept."],
  [/cuda|gpu|driver|device/i, "Check the GPU and its driver, or choose the CPU."],
];
const ADVICE_OTHERWISE = "Choose another model or try again; the log at the end of the page says more.";

/** Notices of this page alone, by what they are about. */
const own = new Map();
/** Texts that this viewer has put away, until the page is loaded anew. */
const dismissed = new Set();
let shown = null;

/**
 * Shows an error of something that the user did.
 * @param {string} about replaces an earlier notice about the same
 * @param {Error & {title?: string}} error
 */
export function notify(about, error) {
  dismissed.clear();
  own.set(about, { title: error.title ?? "Something went wrong", message: error.message, advice: null });
  renderNotices(shown);
}

/** @param {string} about */
export function forget(about) {
  if (own.delete(about)) renderNotices(shown);
}

/** @param {object} state the page's state */
export function renderNotices(state) {
  shown = state;
  // What fails once more is told once more.
  if (state.status?.loading) dismissed.clear();
  const notices = [...fromState(state), ...own.values()].filter((notice) => !dismissed.has(keyOf(notice)));
  rebuild($("notices"), notices, () => notices.map(card));
}

const keyOf = ({ title, message }) => `${title}: ${message}`;

function fromState({ reach, status, isStatic }) {
  if (isStatic) {
    const message = "What you see is how it was left. Start the app again to use it.";
    return [{ title: "This session has ended", message, advice: null, tone: "info", stays: true }];
  }
  if (reach === "none") {
    const message = "The app may have been stopped, or the connection to it was cut. This page goes on asking.";
    return [{ title: "The server does not answer", message, advice: null, stays: true }];
  }
  if (!status) return [];
  const notices = [];
  if (status.lost) {
    const advice = "The process ends now, so that the platform can start it anew.";
    notices.push({ title: "The device does not work any more", message: status.lost, advice, stays: true });
  }
  // A new attempt makes the last failure history.
  if (status.failure && !status.loading) {
    const { model_name: name, message } = status.failure;
    const advice = (ADVICE.find(([about]) => about.test(message)) ?? [null, ADVICE_OTHERWISE])[1];
    notices.push({ title: `${name} could not be loaded`, message, advice });
  }
  if (status.model?.stale) {
    const { name, stale } = status.model;
    notices.push({ title: `${name} was not updated`, message: stale, advice: "It is served with the files that were here.", tone: "info" });
  }
  return notices;
}

function card(notice) {
  const dismiss = make("button", { type: "button", className: "quiet small" }, "Dismiss");
  dismiss.addEventListener("click", () => {
    dismissed.add(keyOf(notice));
    for (const [about, other] of own) if (other === notice) own.delete(about);
    renderNotices(shown);
  });
  return make(
    "div",
    { className: `notice ${notice.tone ?? "bad"}`, role: "alert" },
    make("div", {}, make("b", {}, notice.title), make("p", {}, notice.message), notice.advice ? make("p", { className: "advice" }, notice.advice) : null),
    notice.stays ? null : dismiss,
  );
}
