/** Numbers as people read them. */

/** A download's bytes, in the decimal units that hubs and disks use. */
export function bytes(count) {
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  if (count < 1e9) return `${trim(count / 1e6)} MB`;
  return `${trim(count / 1e9)} GB`;
}

/** Memory, in the binary units that it is sold in. */
export function memory(count) {
  const mebi = count / 2 ** 20;
  return mebi < 1024 ? `${trim(mebi)} MiB` : `${trim(mebi / 1024)} GiB`;
}

/** Three digits, or as many as there are before the point. */
function trim(value) {
  const decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toFixed(decimals);
}

/** Seconds in the two largest units that matter. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  if (first === -1) return "0 s";
  const [name, size] = units[first];
  const [nextName, nextSize] = units[first + 1] ?? ["", 1];
  const rest = Math.floor((whole % size) / nextSize);
  return `${Math.floor(whole / size)} ${name}` + (nextName && rest ? ` ${rest} ${nextName}` : "");
}

/** Milliseconds, or seconds where they are many. */
export const latency = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`);

/** A count with a space between thousands. */
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** `1 label`, `2 labels`. */
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** `deploy_params` and `task type` become `Deploy params` and `Task type`. */
export function humanise(key) {
  const words = key.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A value of some JSON in a line. */
export function plain(value) {
  if (value === null || value === undefined) return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (Array.isArray(value)) return value.map(plain).join(", ") || "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
