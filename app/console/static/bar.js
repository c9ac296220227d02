// A bar that is filled to a share of its length.

import { h } from "./element.js";

export function bar(share, attributes = {}) {
  const fill = h("div", { class: "fill" });
  fill.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
  return h("div", { class: "track", ...attributes }, fill);
}
