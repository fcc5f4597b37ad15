/** The calls that ask the same from a program. */

import { base } from "./api.js";

/** The server's address as the SDK takes it. */
const address = base.replace(/\/$/, "");

/**
 * @param {string} fileName
 * @param {object} settings
 * @param {number | null} sessionId
 */
export function pythonCall(fileName, settings, sessionId) {
  const connect =
    sessionId === null
      ? []
      : ["# With access to the platform, by the session's id:", `# model = supervisely.Api.from_env().nn.connect(task_id=${sessionId})`];
  return [
    "# pip install supervisely",
    ...(sessionId === null ? [] : ["import supervisely"]),
    "from supervisely.nn.model.model_api import ModelAPI",
    "",
    `model = ModelAPI(url=${python(address)})`,
    ...connect,
    "",
    "predictions = model.predict(",
    `    input=${python(fileName)},`,
    `    settings=${python(settings, "    ")},`,
    ")",
    "print(predictions[0].annotation.to_json())",
    "",
  ].join("\n");
}

/**
 * @param {string} fileName
 * @param {object} settings
 */
export function curlCall(fileName, settings) {
  // In the text of a form no character has a meaning, in a file's name some have one.
  const name = /[",;\\]/.test(fileName) ? `"${fileName.replace(/["\\]/g, "\\$&")}"` : fileName;
  return [
    "curl --fail-with-body",
    `  -F ${quoted(`files=@${name}`)}`,
    `  --form-string ${quoted(`settings=${JSON.stringify({ settings })}`)}`,
    `  ${quoted(`${base}inference_image`)}`,
  ].join(" \\\n") + "\n";
}

/** A word of a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A JSON value as Python writes it. */
function python(value, indent = "") {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = indent + "    ";
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((item) => python(item, inner))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item, inner)}`);
  const [open, close] = isList ? "[]" : "{}";
  const line = open + parts.join(", ") + close;
  // What fits on a line stays there.
  return line.length <= 60 && !line.includes("\n") ? line : `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}`;
}
