// Controls with their names.

import { h } from "./element.js";

export function field(name, control, hint = null) {
  return h("label", { class: "field" }, h("span", { class: "name" }, name), control, hint && h("span", { class: "hint" }, hint));
}

export const pair = (...fields) => h("div", { class: "pair" }, fields);

export function area(attributes = {}) {
  return h("textarea", { rows: 2, ...attributes });
}

/** A number that may be left empty: then the service's default counts. */
export function number(attributes = {}) {
  return h("input", { type: "number", placeholder: "default", step: "any", ...attributes });
}

export function choice(options, attributes = {}) {
  const all = options.map((one) => (typeof one === "string" ? { value: one, name: one } : one));
  return h("select", attributes, all.map(({ value, name, disabled }) => h("option", { value, disabled }, name)));
}

/** The lines in a control, without those that are empty. */
export const lines = ({ value }) => value.split("\n").map((line) => line.trim()).filter(Boolean);

/** What stands in the controls of `named`, without those that are empty. */
export function given(named) {
  const filled = Object.entries(named).filter(([, control]) => control.value.trim() !== "");
  return Object.fromEntries(filled.map(([name, { type, value }]) => [name, type === "number" ? Number(value) : value]));
}

export const more = (name, ...children) => h("details", {}, h("summary", {}, name), children);
