// This key: what it may use, its limits, what is left of them, what it has used.

import { ownKey } from "./api.js";
import { bar } from "./bar.js";
import { h } from "./element.js";
import { failureNotice } from "./notice.js";
import { count, duration } from "./numbers.js";
import { polled } from "./polling.js";

const date = new Intl.DateTimeFormat("en", { dateStyle: "long", timeStyle: "short" });

export function keyView() {
  const cards = h("div", { class: "cards" });
  const name = h("p");
  const element = h("section", {}, h("div", { class: "head" }, h("h1", {}, "My key"), name), cards);
  const look = async () => {
    try {
      const key = await ownKey();
      name.textContent = [key.name, key.id].filter(Boolean).join(", ");
      cards.replaceChildren(left(key), used(key), scope(key));
    } catch (error) {
      cards.replaceChildren(failureNotice(error));
    }
  };
  return { element, ...polled(look) };
}

const card = (title, ...children) => h("article", { class: "card" }, h("h2", {}, title), children);
const table = (rows) => h("dl", { class: "numbers" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

function left({ requests, tokens, concurrent_requests: atOnce }) {
  return card(
    "Left now",
    meter("requests", requests),
    tokens ? meter("tokens", tokens) : h("p", { class: "sub" }, "Tokens are not limited."),
    h("p", { class: "sub" }, atOnce === null ? "Requests at a time are not limited." : `${count(atOnce)} requests at a time.`),
  );
}

function meter(what, { left: number, burst, per_minute: perMinute, full_in_s: seconds }) {
  const attributes = { role: "meter", "aria-label": `${what} left`, "aria-valuemin": 0, "aria-valuemax": burst, "aria-valuenow": number };
  const again = seconds > 1 ? ` Full again in ${duration(seconds)}.` : "";
  return h(
    "div",
    { class: "meter" },
    h("p", {}, h("span", { class: "amount" }, count(number)), ` of ${count(burst)} ${what}`),
    bar(number / burst, attributes),
    h("p", { class: "hint" }, `${count(perMinute)} come back each minute.${again}`),
  );
}

function used({ usage }) {
  if (!usage) return card("Used", h("p", { class: "sub" }, "This is not known now."));
  const rows = [
    ["Requests", count(usage.requests)],
    ["Prompt tokens", count(usage.prompt_tokens)],
    ["Answer tokens", count(usage.completion_tokens)],
    ["Refused by a limit", count(usage.refusals)],
  ];
  return card("Used", table(rows), h("p", { class: "sub" }, "Since the gateway has started. It is up to date to within a few seconds."));
}

function scope({ models, created, expires, weight }) {
  const moment = (text, without) => (text ? date.format(new Date(text)) : without);
  return card(
    "What it may use",
    models ? h("ul", { class: "chips", "aria-label": "Models" }, models.map((id) => h("li", {}, id))) : h("p", {}, "Every model"),
    table([
      ["Made", moment(created, "not noted")],
      ["Good until", moment(expires, "no end is set")],
      ["Weight", count(weight)],
    ]),
  );
}
