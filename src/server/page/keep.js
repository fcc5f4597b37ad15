/** What outlives a reload: small things for this tab, and the picture. Without storage the page works all the same. */

import { base } from "./api.js";

const key = (name) => `florence-2 ${base} ${name}`;

/** @template T @param {string} name @param {T} otherwise @returns {T} */
export function recall(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(key(name))) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {string} name @param {unknown} value */
export function remember(name, value) {
  try {
    sessionStorage.setItem(key(name), JSON.stringify(value));
  } catch {
    // Frames of other sites may not store anything.
  }
}

const STORE = "pictures";

/** Runs a request in the browser's database. */
function inDatabase(mode, request) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("florence-2", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const done = request(opening.result.transaction(STORE, mode).objectStore(STORE));
      done.onsuccess = () => resolve(done.result);
      done.onerror = () => reject(done.error);
    };
  });
}

/** @param {File} file */
export async function rememberPicture(file) {
  remember("picture", true);
  try {
    await inDatabase("readwrite", (store) => store.put(file, base));
  } catch {
    // As above.
  }
}

/** The picture that this tab showed last. @returns {Promise<File | undefined>} */
export async function recallPicture() {
  if (!recall("picture", false)) return undefined;
  try {
    return await inDatabase("readonly", (store) => store.get(base));
  } catch {
    return undefined;
  }
}
