// A small chart of the last minutes.

import { h, s } from "./element.js";

const [WIDTH, HEIGHT] = [100, 30];

/** `points` are numbers or null where one is not known, the newest last; `room` is how many fit. */
export function chart(name, points, room, show) {
  const known = points.filter((value) => value !== null);
  const now = known.length ? show(known.at(-1)) : "…";
  const top = Math.max(1, ...known);
  const first = room - points.length;
  const places = points.flatMap((value, place) => (value === null ? [] : [[((first + place) / (room - 1)) * WIDTH, HEIGHT - (value / top) * HEIGHT]]));
  const line = places.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join(" L ");
  const picture = s(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${name}: now ${now}, at most ${show(top)}` },
    places.length > 1 && s("path", { class: "area", d: `M ${places[0][0].toFixed(2)} ${HEIGHT} L ${line} L ${WIDTH} ${HEIGHT} Z` }),
    s("path", { class: "base", d: `M 0 ${HEIGHT} H ${WIDTH}` }),
    places.length > 1 && s("path", { class: "line", d: `M ${line}` }),
  );
  return h("figure", { class: "chart" }, h("figcaption", {}, h("span", {}, name), h("output", {}, now)), picture);
}
