/** What the page and the platform around it tell each other. */

const isFramed = window.parent !== window;
const told = new Set();

/**
 * The platform shows the page in a frame, under a header of its own unless it is told otherwise.
 * @param {"init-start" | "init-end"} action told once
 */
export function tellPlatform(action) {
  if (!isFramed || told.has(action)) return;
  if (told.size === 0) window.parent.postMessage(JSON.stringify({ showHeader: false }), "*");
  told.add(action);
  window.parent.postMessage({ action }, "*");
}

/** Whether this is the copy of the page that the platform shows once the session has ended. */
export function inStaticVersion() {
  try {
    const context = JSON.parse(new URLSearchParams(location.search).get("slyContext"));
    return context?.isStaticVersion === true;
  } catch {
    return false;
  }
}
