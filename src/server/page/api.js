/** Requests to the server. Every address is relative to the page's own path. */

/** Where the server's routes lie: the page's address with a slash at its end. */
export const base = new URL(location.pathname.replace(/\/*$/, "/"), location.origin).href;

/** Longest wait for answers that a server gives at once. */
const QUICK_MS = 10_000;

/** An answer that is an error, in the server's own words. */
export class ServerError extends Error {
  /**
   * @param {number} status HTTP status
   * @param {string} title
   * @param {string} message
   */
  constructor(status, title, message) {
    super(message);
    this.status = status;
    this.title = title;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer. It may have been stopped, or the connection to it was cut.");
    this.title = "No answer";
  }
}

async function ask(route, options) {
  let response;
  try {
    response = await fetch(base + route, { cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
    throw new Unreachable();
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw toError(response.status, body);
}

/** Errors have `detail` as a text or as an object, and `message`; a proxy's have neither. */
function toError(status, body) {
  const detail = body?.detail;
  const message = detail?.message ?? body?.message ?? (typeof detail === "string" ? detail : null);
  // A proxy answers for a server that is gone.
  if (message === null && [502, 503, 504].includes(status)) return new Unreachable();
  return new ServerError(status, detail?.title ?? "Request failed", message ?? `The server answered ${status}.`);
}

/** @param {string} route */
export const get = (route) => ask(route, { signal: AbortSignal.timeout(QUICK_MS) });

/**
 * @param {string} route
 * @param {object} body
 * @param {number | null} limitMs longest wait, `null` for none
 */
export const post = (route, body = {}, limitMs = QUICK_MS) =>
  ask(route, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: limitMs === null ? undefined : AbortSignal.timeout(limitMs),
  });

/**
 * One picture, one prediction.
 * @param {File} file
 * @param {object} settings
 * @param {AbortSignal} signal
 */
export function predict(file, settings, signal) {
  const form = new FormData();
  form.append("files", file, file.name);
  form.append("settings", JSON.stringify({ settings }));
  return ask("inference_image", { method: "POST", body: form, signal });
}
