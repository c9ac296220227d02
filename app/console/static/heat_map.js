// How alike vectors are: a table whose cells are the warmer the more alike two are.

import { h } from "./element.js";

export function heatMap(names, vectors) {
  const units = vectors.map(unit);
  const likeness = units.map((one) => units.map((other) => dot(one, other)));
  const others = likeness.flatMap((row, place) => row.filter((_, column) => column !== place));
  const [low, high] = [Math.min(...others), 1];
  const warmth = (value) => Math.max(0, (value - low) / (high - low || 1));
  const head = h("tr", {}, h("td"), names.map((name, place) => h("th", { scope: "col", title: name }, String(place + 1))));
  const rows = likeness.map((row, place) =>
    h("tr", {}, h("th", { scope: "row" }, `${place + 1}  ${names[place]}`), row.map((value) => cell(value, warmth(value)))),
  );
  const caption = h("caption", { class: "unseen" }, "Similarity of each text to each other, up to 1");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Heat map" }, h("table", { class: "heat" }, caption, h("thead", {}, head), h("tbody", {}, rows)));
}

function cell(value, warmth) {
  const element = h("td", { class: warmth > 0.62 ? "hot" : "" }, value.toFixed(2));
  element.style.setProperty("--warmth", warmth.toFixed(3));
  return element;
}

const dot = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);

function unit(vector) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((value) => value / length);
}
