/** The page of the API: what openapi.json says, for people. */
import { $, make } from "./dom.js";

const VERBS = ["get", "post"];
/** Objects within objects are shown down to here. */
const MAX_DEPTH = 5;

/** The document. */
let api;

/** What a reference stands for, or the thing itself. */
function resolve(thing) {
  if (!thing?.$ref) return thing ?? {};
  return thing.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], api) ?? {};
}

/** A text with `code` in it, in paragraphs. */
function paragraphs(text) {
  const words = (part) => part.split("`").map((piece, index) => (index % 2 ? make("code", { textContent: piece }) : piece));
  return (text ?? "").split("\n\n").filter(Boolean).map((part) => make("p", {}, ...words(part)));
}

/** The schema without "or null", and whether null is meant as well. */
function withoutNull(schema) {
  const choices = schema.oneOf ?? schema.anyOf;
  const rest = choices?.filter((choice) => choice.type !== "null");
  if (rest && rest.length < choices.length && rest.length === 1) return [{ ...schema, oneOf: undefined, ...rest[0] }, true];
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((type) => type !== "null");
    return [{ ...schema, type: types.length === 1 ? types[0] : types }, types.length < schema.type.length];
  }
  return [schema, false];
}

/** Properties of an object, of all its parts. */
function propertiesOf(schema) {
  const whole = resolve(schema);
  const parts = (whole.allOf ?? []).map(propertiesOf);
  const needed = [...(whole.required ?? []), ...parts.flatMap((part) => part.needed)];
  return { fields: Object.assign({}, whole.properties, ...parts.map((part) => part.fields)), needed };
}

/** What a value is, in a few words. */
function typeName(schema) {
  const [bare] = withoutNull(resolve(schema));
  const whole = resolve(bare);
  if (whole.type === "array") return `list of ${typeName(whole.items ?? {})}`;
  if (whole.oneOf) return whole.oneOf.map(typeName).join(" or ");
  if (whole.enum) return whole.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (whole.allOf || whole.properties) return "object";
  if (whole.format === "binary" || whole.contentMediaType) return "file";
  return [whole.type ?? "any value"].flat().join(" or ");
}

/** The objects that a value holds: itself, its items, or its alternatives. */
function objectsIn(schema) {
  const [bare] = withoutNull(resolve(schema));
  const whole = resolve(bare);
  if (whole.type === "array") return objectsIn(whole.items ?? {});
  if (whole.oneOf) return whole.oneOf.flatMap(objectsIn);
  return Object.keys(propertiesOf(whole).fields).length > 0 ? [whole] : [];
}

function field(name, schema, isNeeded, depth) {
  const [bare, orNull] = withoutNull(schema);
  const limits = [
    ["default", bare.default],
    ["from", bare.minimum],
    ["above", bare.exclusiveMinimum],
    ["to", bare.maximum],
  ].filter(([, value]) => value !== undefined);
  const type = [typeName(bare) + (orNull ? " or null" : ""), ...limits.map(([word, value]) => `${word} ${JSON.stringify(value)}`)];
  return make(
    "li",
    {},
    make("code", { textContent: name }),
    " ",
    make("span", { className: "type", textContent: type.join(", ") }),
    isNeeded ? make("span", { className: "needed", textContent: " required" }) : null,
    ...paragraphs(bare.description),
    ...(depth < MAX_DEPTH ? objectsIn(bare).map((object) => fieldList(object, depth + 1)) : []),
  );
}

function fieldList(schema, depth = 0) {
  const { fields, needed } = propertiesOf(schema);
  const items = Object.entries(fields).map(([name, value]) => field(name, value, needed.includes(name), depth));
  return make("ul", { className: "fields" }, ...items);
}

/** What a body holds. */
function contentOf(content) {
  return Object.entries(content ?? {}).flatMap(([type, { schema = {} }]) => [
    make("p", { className: "soft", textContent: `${type}: ${typeName(schema)}` }),
    ...objectsIn(schema).map((object) => fieldList(object)),
  ]);
}

/** The call as a command for a terminal. */
function curlOf(verb, path, body) {
  const address = new URL("." + path.replace("{name}", "main.js"), document.baseURI).href;
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  if (verb === "get") return `curl ${quote(address)}`;
  const [type, { example }] = Object.entries(body?.content ?? {})[0] ?? ["", {}];
  if (type === "multipart/form-data") {
    const file = path.includes("video") ? "clip.mp4" : "picture.png";
    return `curl -F files=@${file} -F 'settings={"settings":{"text":"a red circle"}}' ${quote(address)}`;
  }
  return `curl -H 'Content-Type: application/json' -d ${quote(JSON.stringify(example ?? {}))} ${quote(address)}`;
}

function copyButton(text) {
  const button = make("button", { type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

function response([status, answer]) {
  const whole = resolve(answer);
  const name = status === "default" ? "else" : status;
  return [
    make("p", {}, make("span", { className: "status", textContent: name }), " ", whole.description ?? ""),
    ...contentOf(whole.content),
  ];
}

/** What is inside a route, made when it is opened for the first time. */
function inside(verb, path, operation) {
  const body = resolve(operation.requestBody);
  const parameters = (operation.parameters ?? []).map((parameter) =>
    field(parameter.name, { description: parameter.description, ...parameter.schema }, parameter.required, 0),
  );
  const command = curlOf(verb, path, operation.requestBody && body);
  return make(
    "div",
    { className: "inside" },
    ...paragraphs(operation.description),
    ...(parameters.length ? [make("h3", { textContent: "Parameters" }), make("ul", { className: "fields" }, ...parameters)] : []),
    ...(operation.requestBody ? [make("h3", { textContent: "Request" }), ...contentOf(body.content)] : []),
    make("h3", { textContent: "Call" }),
    make("div", { className: "code" }, copyButton(command), make("pre", { textContent: command, tabIndex: 0, role: "group", "aria-label": "Call" })),
    make("h3", { textContent: "Answers" }),
    ...Object.entries(operation.responses).flatMap(response),
  );
}

const idOf = (verb, path) => `${verb}${path}`;

function operationOf({ verb, path, operation }) {
  const details = make(
    "details",
    { className: "operation", id: idOf(verb, path) },
    make(
      "summary",
      {},
      make("span", { className: `verb ${verb}`, textContent: verb.toUpperCase() }),
      make("code", { textContent: path }),
      make("span", { className: "soft", textContent: operation.summary ?? "" }),
    ),
  );
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(inside(verb, path, operation));
  });
  return details;
}

function groupOf({ name, description }, operations) {
  return make(
    "section",
    { className: "group" },
    make("h2", { textContent: name }),
    make("p", { className: "soft" }, ...paragraphs(description).flatMap((paragraph) => [...paragraph.childNodes])),
    ...operations.map(operationOf),
  );
}

function contentsOf({ name }, operations) {
  const link = ({ verb, path }) => make("a", { href: `#${idOf(verb, path)}`, textContent: path });
  return make("div", {}, make("h2", { textContent: name }), ...operations.map(link));
}

/** Opens the route that the address names. */
function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details")) {
    named.open = true;
    named.scrollIntoView();
  }
}

/** Hides what does not hold the words of the filter. */
function filter() {
  const wanted = $("filter").value.trim().toLowerCase();
  let shown = 0;
  for (const details of document.querySelectorAll(".operation")) {
    const isShown = details.querySelector("summary").textContent.toLowerCase().includes(wanted);
    details.hidden = !isShown;
    shown += isShown;
    document.querySelector(`.contents a[href="#${CSS.escape(details.id)}"]`)?.toggleAttribute("hidden", !isShown);
  }
  for (const part of document.querySelectorAll(".group, #contents > div")) {
    part.hidden = ![...part.querySelectorAll(".operation, a")].some((child) => !child.hidden);
  }
  $("nothing").hidden = shown > 0;
}

async function main() {
  const response = await fetch(new URL("openapi.json", document.baseURI));
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  api = await response.json();
  $("title").textContent = `API of ${api.info.title}`;
  $("version").textContent = `Version ${api.info.version}, OpenAPI ${api.openapi}`;
  $("about").replaceChildren(...paragraphs(api.info.description));
  $("about").hidden = false;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    VERBS.filter((verb) => item[verb]).map((verb) => ({ verb, path, operation: item[verb] })),
  );
  const groups = api.tags.map((tag) => [tag, operations.filter(({ operation }) => operation.tags?.includes(tag.name))]);
  $("groups").replaceChildren(...groups.map(([tag, inside]) => groupOf(tag, inside)));
  $("contents").replaceChildren(...groups.map(([tag, inside]) => contentsOf(tag, inside)));
  $("filter").addEventListener("input", filter);
  addEventListener("hashchange", openNamed);
  openNamed();
}

main().catch((error) => {
  $("trouble").textContent = `The description of the routes cannot be shown. ${error.message}`;
  $("trouble").hidden = false;
});
