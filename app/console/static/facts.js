// What is known of one answer beside its content: from its headers, its usage, and this page's own clock.

import { adjustments } from "./adjustments.js";
import { h } from "./element.js";
import { count, milliseconds, rough } from "./numbers.js";
import { snippet } from "./snippet.js";

export class Facts {
  /** `request` is what was sent: its path, its body, its files by name. The clock runs from here. */
  constructor(request) {
    this.list = h("dl");
    this.changes = h("ul", { class: "changes", "aria-label": "What was changed in the request" });
    this.element = h("div", { class: "facts" }, this.list, this.changes, snippet(request));
    this.began = performance.now();
    this.first = null;
    this.values = new Map();
  }

  /** Its headers are here. */
  head(response) {
    const header = (name) => response.headers.get(name);
    this.changes.replaceChildren(...adjustments(header("x-param-adjustments")).map((text) => h("li", {}, text)));
    const overhead = header("x-gateway-overhead-ms");
    if (overhead) this.set("Gateway", `${rough(Number(overhead))} ms`);
    const [left, limit] = [header("x-ratelimit-remaining"), header("x-ratelimit-limit")];
    const tokens = header("x-ratelimit-remaining-tokens");
    const budget = `${count(left)} requests${tokens ? `, ${count(tokens)} tokens` : ""}`;
    if (left) this.set("Budget left", budget, `of ${count(limit)} requests a minute`);
    this.set("Request", h("code", {}, header("x-request-id")));
    return this;
  }

  /** The first piece of its content is here; `name` says what that is. */
  piece(name = "First token") {
    if (this.first !== null) return;
    this.first = performance.now();
    this.set(name, milliseconds(this.first - this.began));
  }

  /** It has ended; `tokens` are those that the model made. */
  end({ tokens } = {}) {
    const now = performance.now();
    this.set("Total", milliseconds(now - this.began));
    if (!tokens) return;
    this.set("Tokens", count(tokens));
    const seconds = (now - (this.first ?? this.began)) / 1000;
    if (this.first !== null && tokens > 1 && seconds > 0) this.set("Speed", `${rough((tokens - 1) / seconds)} tokens/s`);
  }

  set(name, value, title = null) {
    const row = h("div", { title }, h("dt", {}, name), h("dd", {}, value));
    this.values.get(name)?.remove();
    this.values.set(name, row);
    const order = ["Gateway", "First token", "First image", "First audio", "Speed", "Tokens", "Usage", "Total"];
    const shown = [...this.values].sort(([a], [b]) => place(order, a) - place(order, b));
    this.list.replaceChildren(...shown.map(([, one]) => one));
  }
}

const place = (order, name) => (order.includes(name) ? order.indexOf(name) : order.length);
