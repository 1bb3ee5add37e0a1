"use strict";
// The scripts of this folder are one script in the page, this file first.
// Everything a model wrote reaches the page through textContent; nothing here builds HTML from text.

function el(tag, className, text, attributes = {}) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  return node;
}
const byId = (id) => document.getElementById(id);
const data = (id) => JSON.parse(byId(id).textContent);
const comparisons = byId("comparisons") && data("comparisons");
const number = (n) => n.toLocaleString("en-US");
const plural = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

// Control and direction characters could hide or reorder text: they are shown by name.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]/g, (c) =>
      `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}
