/** Elements of the page: finding, making and changing them. */

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export const $ = (id) => document.getElementById(id);

/**
 * Makes an element. Properties are set as such, `data` becomes data attributes, names with a dash become attributes.
 * @param {string} name
 * @param {object} properties
 * @param {...(Node | string | null)} children
 */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(element.dataset, value);
    else if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * @param {string} name
 * @param {object} attributes
 * @param {...(Node | string)} children
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Changes a text only if it is another one: what is selected stays so, and live regions speak once. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} isShown */
export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/**
 * Rebuilds an element's children if what they show has changed.
 * @param {HTMLElement} element
 * @param {unknown} content decides whether anything has changed
 * @param {() => Node[]} build
 */
export function rebuild(element, content, build) {
  const key = JSON.stringify(content) ?? "";
  if (rebuilt.get(element) === key) return false;
  rebuilt.set(element, key);
  element.replaceChildren(...build());
  return true;
}
const rebuilt = new WeakMap();

/**
 * Fills a bar; without a share it shows that something goes on.
 * @param {HTMLElement} meter
 * @param {number | null} share from 0 to 1
 */
export function setMeter(meter, share) {
  meter.classList.toggle("endless", share === null);
  const percent = share === null ? null : Math.round(Math.min(Math.max(share, 0), 1) * 100);
  if (percent === null) meter.removeAttribute("aria-valuenow");
  else meter.setAttribute("aria-valuenow", percent);
  meter.firstElementChild.style.width = percent === null ? "" : `${percent}%`;
}

/**
 * Fills the list of a select and keeps what was chosen, if it is still there.
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string}[]} options
 * @param {string} preferred what is chosen otherwise
 */
export function setOptions(select, options, preferred) {
  const chosen = select.value;
  const isSame = select.length === options.length && options.every(({ value }, at) => select.options[at].value === value);
  if (isSame) {
    options.forEach(({ text }, at) => setText(select.options[at], text));
    return;
  }
  select.replaceChildren(...options.map(({ value, text }) => make("option", { value }, text)));
  const wanted = [chosen, preferred].find((value) => options.some((option) => option.value === value));
  if (wanted !== undefined) select.value = wanted;
}

/** Copies a text; inside of frames without the permission in the old way. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { value: text, className: "unseen", readOnly: true });
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

/**
 * Makes a button copy a text and say so for a moment.
 * @param {HTMLElement} button
 * @param {() => string} read
 */
export function copyOnClick(button, read) {
  const words = [...button.childNodes];
  let timer = 0;
  button.addEventListener("click", async () => {
    const isCopied = await copy(read());
    button.focus();
    button.replaceChildren(isCopied ? "Copied" : "Not copied");
    clearTimeout(timer);
    timer = setTimeout(() => button.replaceChildren(...words), 1500);
  });
}
