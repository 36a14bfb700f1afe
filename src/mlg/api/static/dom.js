
"use strict";
// Elements are made by name and filled with text nodes only: no value is ever parsed as markup.
const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function at(id) { return document.getElementById(id); }

function show(id, ...children) { at(id).replaceChildren(...children.flat(Infinity)); }

// What is refreshed by itself stays as it is while the reader's focus or selection is in it.
function refresh(id, ...children) {
  const box = at(id);
  const selection = document.getSelection();
  const selecting = selection && !selection.isCollapsed && box.contains(selection.anchorNode);
  if (!selecting && !box.contains(document.activeElement)) show(id, ...children);
}

function table(heads, rows) {
  return h("table", {},
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))));
}

// The address is only ever a fragment of this page, so no scheme can come in with a value.
function traceLink(uri, text) {
  return h("a", { class: "uri", href: "#trace=" + encodeURIComponent(uri) }, text || uri);
}

function number(value, digits = 0) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function percent(value, digits = 1) {
  return typeof value === "number" ? number(100 * value, digits) + " %" : "–";
}

function moment(text) { return String(text || "").replace("T", " ").replace(/(\.\d+)?Z$/, ""); }

function short(uri) { return String(uri).replace(/^mlg:\/\//, ""); }

// Bars over equal intervals; `title` is read out, so it says the figures' gist.
function bars(values, { title, left, right, tone = "a", top = null }) {
  const most = top === null ? Math.max(1e-9, ...values.map((v) => v || 0)) : top;
  const step = 300 / Math.max(1, values.length);
  return s("svg", { viewBox: "0 0 300 120", role: "img", "aria-label": title },
    s("title", {}, title),
    values.map((value, i) => {
      const height = 95 * Math.min(1, (value || 0) / most);
      return s("rect", { class: tone, x: i * step + 1, y: 100 - height, width: step - 2, height });
    }),
    s("line", { x1: 0, x2: 300, y1: 100, y2: 100 }),
    s("text", { x: 0, y: 115 }, left),
    s("text", { x: 300, y: 115, "text-anchor": "end" }, right));
}

function line(values, { title }) {
  const most = Math.max(1e-9, ...values);
  const points = values.map((value, i) =>
    `${(300 * i) / Math.max(1, values.length - 1)} ${100 - 95 * (value / most)}`);
  return s("svg", { viewBox: "0 0 300 120", role: "img", "aria-label": title },
    s("title", {}, title),
    s("path", { d: points.length > 1 ? "M" + points.join("L") : "" }),
    s("line", { x1: 0, x2: 300, y1: 100, y2: 100 }),
    s("text", { x: 0, y: 115 }, `${values.length} s ago`),
    s("text", { x: 300, y: 115, "text-anchor": "end" }, "now"));
}
