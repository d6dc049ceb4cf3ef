"use strict";

// The documentation reads openapi.json and draws it. It needs nothing from other hosts.

const TOKEN = "elodrome.token";
const MAX_DEPTH = 6;
const MAX_SHOWN = 200_000;
let api;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Comments use `code` and "* " lists; nothing else needs drawing.
function inline(text) {
  return text.split(/(`[^`]+`)/).filter(Boolean).map((part) =>
    part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : part);
}

function prose(text) {
  const box = make("div");
  for (const paragraph of (text || "").split(/\n\n+/)) {
    const lines = paragraph.split("\n");
    const first = lines.findIndex((line) => line.startsWith("* "));
    const before = (first < 0 ? lines : lines.slice(0, first)).join(" ");
    if (before) box.append(make("p", {}, ...inline(before)));
    if (first >= 0) {
      const items = lines.slice(first).join("\n").split(/^\* /m).filter(Boolean);
      box.append(make("ul", {}, ...items.map((item) =>
        make("li", {}, ...inline(item.replace(/\n/g, " "))))));
    }
  }
  return box;
}

function resolve(schema) {
  let found = schema || {};
  const about = found.description;
  const inner = (found.anyOf || []).find((part) => part.$ref);
  if (inner) found = inner;
  if (found.$ref) found = api.components.schemas[found.$ref.split("/").pop()] || {};
  return about ? { ...found, description: about } : found;
}

function nameOf(schema) {
  const reference = schema?.$ref || (schema?.anyOf || []).find((part) => part.$ref)?.$ref;
  return reference ? reference.split("/").pop() : "";
}

function typeText(schema) {
  const optional = schema?.anyOf || Array.isArray(schema?.type) ? " or null" : "";
  const name = nameOf(schema);
  if (name === "Double") return `number${optional}`;
  const found = resolve(schema);
  if (found.enum) return found.enum.filter((value) => value !== "UNSPECIFIED").join(" | ") + optional;
  if (name) return name + optional;
  if (schema.type === "array") return `array of ${typeText(schema.items)}`;
  if (schema.additionalProperties?.type || schema.additionalProperties?.$ref) {
    return `map of ${typeText(schema.additionalProperties)}`;
  }
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type || "any";
  return (schema.format ? `${type} (${schema.format})` : type) + optional;
}

function schemaView(schema, depth = 0) {
  const found = resolve(schema.type === "array" ? schema.items : schema);
  const box = make("div", { class: "schema" });
  for (const [name, field] of Object.entries(found.properties || {})) {
    const row = make("div", { class: "field" }, make("code", {}, name), " ",
      make("span", { class: "type" }, typeText(field)));
    const about = field.description || "";
    if (about) row.append(make("div", { class: "text" }, ...inline(about.replace(/\n/g, " "))));
    const below = resolve(field.type === "array" ? field.items : field);
    if (below.properties && depth < MAX_DEPTH) {
      const more = make("details", {}, make("summary", { class: "quiet" }, "fields"));
      more.addEventListener("toggle", () => {
        if (more.open && more.children.length === 1) more.append(schemaView(field, depth + 1));
      });
      row.append(more);
    }
    box.append(row);
  }
  return box.children.length ? box : make("p", { class: "quiet" }, typeText(schema));
}

function example(schema, depth = 0) {
  if (!schema || depth > MAX_DEPTH) return null;
  if (schema.anyOf || Array.isArray(schema.type)) return undefined;
  if (nameOf(schema) === "Double") return 0;
  const found = resolve(schema);
  if (found.enum) return found.enum.find((value) => value !== "UNSPECIFIED");
  if (found.properties) {
    return Object.fromEntries(Object.entries(found.properties)
      .map(([name, field]) => [name, example(field, depth + 1)])
      .filter(([, value]) => value !== undefined));
  }
  const kinds = { array: [], object: {}, integer: 0, number: 0, boolean: false, string: "" };
  return kinds[found.type] ?? null;
}

function parametersTable(parameters) {
  const rows = parameters.map((parameter) => make("tr", {},
    make("td", {}, make("code", {}, parameter.name)),
    make("td", { class: "quiet" }, parameter.in),
    make("td", { class: "quiet" }, typeText(parameter.schema)),
    make("td", {}, ...inline((parameter.description || "").replace(/\n/g, " ")))));
  return make("table", {}, make("tbody", {}, ...rows));
}

function mediaOf(content) {
  const [type, media] = Object.entries(content || {})[0] || [];
  return type ? { type, schema: media["x-message"] || media.schema } : null;
}

function operationInside(method, path, operation) {
  const inside = make("div", { class: "inside" }, prose(operation.description));
  const roles = operation["x-roles"] || [];
  const facts = operation.security ? "No token needed." :
    `Roles: ${roles.join(", ").toLowerCase()}. Scope: ${(operation["x-scope"] || "none").toLowerCase()}.`;
  inside.append(make("p", { class: "quiet" }, facts, " RPC: ", make("code", {}, operation["x-rpc"])));
  if (operation.parameters.length) {
    inside.append(make("h4", {}, "Parameters"), parametersTable(operation.parameters));
  }
  const body = mediaOf(operation.requestBody?.content);
  if (body) inside.append(make("h4", {}, `Body · ${body.type}`), schemaView(body.schema || {}));
  const [status, response] = Object.entries(operation.responses)[0];
  const answer = mediaOf(response.content);
  inside.append(make("h4", {}, `Answer · ${status}${answer ? ` · ${answer.type}` : ""}`));
  if (answer?.schema) inside.append(schemaView(answer.schema));
  inside.append(tryForm(method, path, operation, body, answer));
  return inside;
}

function tryForm(method, path, operation, body, answer) {
  const form = make("form", { class: "try" }, make("h4", {}, "Try it"));
  for (const parameter of operation.parameters) {
    const input = make("input", { name: `${parameter.in}:${parameter.name}`, autocomplete: "off" });
    if (parameter.required) input.required = true;
    form.append(make("label", {}, make("span", {}, make("code", {}, parameter.name)), input));
  }
  if (body?.type === "application/json") {
    const text = make("textarea", { name: "body", spellcheck: "false", "aria-label": "Body" });
    text.value = JSON.stringify(example(body.schema), null, 2);
    form.append(text);
  } else if (body) {
    form.append(make("input", { type: "file", name: "file", "aria-label": "File" }));
  }
  const output = make("pre", { class: "hidden", tabindex: "0" });
  const state = make("span", { class: "quiet", role: "status" });
  const stop = make("button", { type: "button", class: "hidden" }, "Stop");
  const send = make("button", { class: "main" }, "Send");
  const copy = make("button", { type: "button" }, "Copy as curl");
  form.append(make("div", { class: "actions" }, send, stop, copy, state), output);
  copy.addEventListener("click", () => navigator.clipboard.writeText(curl(request(form, method, path))));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const aborter = new AbortController();
    stop.onclick = () => aborter.abort();
    send.disabled = true;
    stop.classList.remove("hidden");
    try {
      await run(request(form, method, path), answer, { output, state, signal: aborter.signal });
    } catch (error) {
      state.textContent = error.name === "AbortError" ? "stopped" : String(error);
    }
    send.disabled = false;
    stop.classList.add("hidden");
  });
  return form;
}

function request(form, method, path) {
  const headers = {};
  const query = new URLSearchParams();
  let url = path;
  for (const input of form.querySelectorAll("input[name*=':']")) {
    const [where, name] = input.name.split(":");
    if (!input.value) continue;
    if (where === "path") url = url.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (where === "query") query.append(name, input.value);
    else headers[name] = input.value;
  }
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.authorization = `Bearer ${token}`;
  let body = form.elements.file?.files[0];
  if (form.elements.body) {
    body = form.elements.body.value;
    headers["content-type"] = "application/json";
  }
  const suffix = query.toString();
  return { method, url: suffix ? `${url}?${suffix}` : url, headers, body };
}

function curl({ method, url, headers, body }) {
  const quote = (text) => `'${text.replace(/'/g, "'\\''")}'`;
  const parts = [`curl -X ${method} ${quote(location.origin + url)}`];
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (typeof body === "string") parts.push(`-d ${quote(body)}`);
  return parts.join(" \\\n  ");
}

async function run({ method, url, headers, body }, answer, { output, state, signal }) {
  const began = performance.now();
  output.textContent = "";
  output.classList.remove("hidden");
  state.textContent = "sending…";
  const response = await fetch(url, { method, headers, body, signal });
  const took = () => `${Math.round(performance.now() - began)} ms`;
  const id = response.headers.get("x-request-id");
  state.textContent = `${response.status} in ${took()} · request ${id}`;
  const type = response.headers.get("content-type") || "";
  if (type.startsWith("text/event-stream")) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      output.textContent = (output.textContent + part.value).slice(-MAX_SHOWN);
      output.scrollTop = output.scrollHeight;
    }
    state.textContent += " · ended";
  } else if (type.startsWith("application/json")) {
    output.textContent = JSON.stringify(await response.json(), null, 2).slice(0, MAX_SHOWN);
  } else {
    const blob = await response.blob();
    const link = make("a", { href: URL.createObjectURL(blob), download: "download" }, `save ${blob.size} bytes`);
    output.append(link);
  }
}

function draw() {
  document.getElementById("version").textContent = api.info.version;
  const content = document.getElementById("content");
  const index = document.getElementById("index");
  content.replaceChildren(prose(api.info.description));
  index.replaceChildren();
  const byTag = new Map(api.tags.map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      byTag.get(operation.tags[0]).operations.push({ method: method.toUpperCase(), path, operation });
    }
  }
  for (const tag of byTag.values()) {
    const section = make("section", {}, make("h2", {}, tag.name), prose(tag.description));
    const group = make("div", {}, make("h3", {}, tag.name));
    for (const item of tag.operations) {
      section.append(operationView(item));
      group.append(indexLink(item));
    }
    content.append(section);
    index.append(group);
  }
}

function operationView({ method, path, operation }) {
  const box = make("details", { class: "operation", id: operation.operationId },
    make("summary", {}, make("span", { class: `verb ${method}` }, method),
      make("span", { class: "path" }, path), make("span", { class: "about" }, operation.summary)));
  box.dataset.text = `${method} ${path} ${operation.operationId} ${operation.description}`.toLowerCase();
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(operationInside(method, path, operation));
  });
  return box;
}

function indexLink({ method, operation }) {
  const link = make("a", { href: `#${operation.operationId}` },
    make("span", { class: `verb ${method}` }, method), operation.operationId);
  link.dataset.for = operation.operationId;
  return link;
}

function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const box of document.querySelectorAll(".operation")) {
    const fits = words.every((word) => box.dataset.text.includes(word));
    box.classList.toggle("hidden", !fits);
    document.querySelector(`[data-for="${box.id}"]`).classList.toggle("hidden", !fits);
  }
  for (const group of document.querySelectorAll("section, #index > div")) {
    const rest = group.querySelector(".operation:not(.hidden), a:not(.hidden)");
    group.classList.toggle("hidden", !rest);
  }
}

function openTarget() {
  const box = document.getElementById(location.hash.slice(1));
  if (box) { box.open = true; box.scrollIntoView(); }
}

async function showWho() {
  const who = document.getElementById("who");
  const token = sessionStorage.getItem(TOKEN);
  who.textContent = "";
  if (!token) return;
  const response = await fetch("/api/v1/auth/me", { headers: { authorization: `Bearer ${token}` } });
  const answer = await response.json();
  who.textContent = response.ok ? `${answer.username} · ${answer.role.toLowerCase()}` : answer.error.message;
}

function useToken(token) {
  sessionStorage.setItem(TOKEN, token);
  document.getElementById("token").value = token;
  showWho();
}

document.getElementById("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(event.target));
  const response = await fetch("/api/v1/auth/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email, password }),
  });
  const answer = await response.json();
  if (response.ok) useToken(answer.access_token);
  else document.getElementById("who").textContent = answer.error.message;
});
document.getElementById("token-form").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("token").addEventListener("change", (event) => useToken(event.target.value.trim()));
document.getElementById("search").addEventListener("input", (event) => search(event.target.value));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
    event.preventDefault();
    document.getElementById("search").focus();
  }
});
addEventListener("hashchange", openTarget);

fetch("/openapi.json").then((response) => response.json()).then((document_) => {
  api = document_;
  document.getElementById("token").value = sessionStorage.getItem(TOKEN) || "";
  draw();
  openTarget();
  showWho();
});
