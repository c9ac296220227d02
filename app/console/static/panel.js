// The settings beside what is made with them: the model, always in sight, and the rest, folded away on small screens.

import { h } from "./element.js";

const wide = matchMedia("(min-width: 62rem)");

export function panel(model, ...rest) {
  const folded = h("details", { class: "rest", open: wide.matches }, h("summary", {}, "Settings"), rest);
  wide.addEventListener("change", () => (folded.open = wide.matches));
  return h("aside", { class: "settings", "aria-label": "Settings" }, model, folded);
}
