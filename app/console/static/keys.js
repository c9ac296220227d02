// All keys, for operators: made, rotated and revoked here. A new key is shown once.

import { call } from "./api.js";
import { announce, h } from "./element.js";
import { choice, field, given, more, pair } from "./field.js";
import { failureNotice } from "./notice.js";
import { count } from "./numbers.js";
import { polled } from "./polling.js";

export const path = "/admin/keys";

const date = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const LIFETIMES = [
  { value: "", name: "no end" },
  { value: "30", name: "30 days" },
  { value: "90", name: "90 days" },
  { value: "365", name: "a year" },
];

export function keysView() {
  const said = h("div", { class: "said" });
  const rows = h("tbody");
  const heads = ["Key", "May use", "Each minute", "Good until", "State", ""].map((name) => h("th", { scope: "col" }, name));
  const table = h("div", { class: "scrolls" }, h("table", { class: "list" }, h("thead", {}, h("tr", {}, heads)), rows));
  const look = async () => {
    if (rows.querySelector("[data-asks]")) return; // a question is open, which new rows would take away
    try {
      const { data } = await (await call(path)).json();
      rows.replaceChildren(...data.toReversed().map((key) => row(key, act)));
    } catch (error) {
      said.replaceChildren(failureNotice(error));
    }
  };
  const act = async (request, body, done) => {
    try {
      const answer = await (await call(request, { body })).json();
      said.replaceChildren(done(answer));
      announce(said.textContent);
    } catch (error) {
      said.replaceChildren(failureNotice(error));
    }
    await look();
  };
  const head = h("div", { class: "head" }, h("h1", {}, "Keys"), h("p", {}, "All of this service."));
  return { element: h("section", {}, head, form(act), said, table), ...polled(look) };
}

function form(act) {
  const name = h("input", { type: "text", maxlength: 100, placeholder: "whose key it is" });
  const models = h("input", { type: "text", placeholder: "every one, or their ids: a, b" });
  const limits = {
    requests_per_minute: h("input", { type: "number", min: 1, placeholder: "600" }),
    tokens_per_minute: h("input", { type: "number", min: 1, placeholder: "no limit" }),
    concurrent_requests: h("input", { type: "number", min: 1, placeholder: "no limit" }),
  };
  const days = choice(LIFETIMES);
  const submit = (event) => {
    event.preventDefault();
    const names = models.value.split(",").map((one) => one.trim()).filter(Boolean);
    const body = { name: name.value, budget: given(limits) };
    if (names.length) body.pipelines = names;
    if (days.value) body.expires = new Date(Date.now() + Number(days.value) * 86_400_000).toISOString();
    act(path, body, made);
  };
  const fields = [
    pair(field("Name", name), field("Models", models)),
    pair(field("Requests a minute", limits.requests_per_minute), field("Tokens a minute", limits.tokens_per_minute)),
    pair(field("Requests at a time", limits.concurrent_requests), field("Good for", days)),
    h("div", { class: "buttons" }, h("button", { class: "main" }, "Make key")),
  ];
  return more("Make a key", h("form", { class: "make", onsubmit: submit }, fields));
}

/** The notice with a new key, which is nowhere else. */
function made({ key, id, old }) {
  const secret = h("code", { class: "secret" }, key);
  const copy = h("button", { type: "button", onclick: () => copied(key, copy) }, "Copy");
  const before = old ? ` The old key, ${old.id}, is good until ${date.format(new Date(old.expires))}.` : "";
  return h(
    "div",
    { class: "notice" },
    h("p", {}, `This is the only time the key ${id} is shown.${before}`),
    h("p", { class: "buttons" }, secret, copy),
  );
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not copied: select it";
  }
}

function row(key, act) {
  const { id, name, pipelines, scopes, budget, expires, state, source } = key;
  const limits = [`${count(budget.requests_per_minute)} requests`];
  if (budget.tokens_per_minute) limits.push(`${count(budget.tokens_per_minute)} tokens`);
  if (budget.concurrent_requests) limits.push(`${count(budget.concurrent_requests)} at a time`);
  const scope = [pipelines === null ? "every model" : pipelines.join(", ") || "no model", ...scopes].join(" + ");
  const cells = [
    [h("span", {}, name || "no name"), h("code", {}, id)],
    scope,
    limits.join(", "),
    expires ? date.format(new Date(expires)) : "no end",
    h("span", { class: "state", "data-state": state }, state),
    source === "file" && state === "active" ? actions(id, act) : source === "file" ? "" : "in the configuration",
  ];
  return h("tr", {}, cells.map((cell) => h("td", {}, cell)));
}

function actions(id, act) {
  const place = h("div", { class: "buttons" });
  const ask = (question, then) => {
    const no = h("button", { type: "button", class: "quiet", onclick: show }, "No");
    const yes = h("button", { type: "button", onclick: () => (show(), then()) }, "Yes");
    place.dataset.asks = "";
    place.replaceChildren(h("span", {}, question), yes, no);
    yes.focus();
  };
  const rotate = () => act(`${path}/${id}/rotate`, {}, made);
  const revoke = () => act(`${path}/${id}/revoke`, {}, () => h("div", { class: "notice" }, h("p", {}, `The key ${id} is revoked.`)));
  const buttons = [
    h("button", { type: "button", class: "quiet", "aria-label": `Rotate ${id}`, onclick: () => ask("Make its successor?", rotate) }, "Rotate"),
    h("button", { type: "button", class: "quiet", "aria-label": `Revoke ${id}`, onclick: () => ask("End it now?", revoke) }, "Revoke"),
  ];
  function show() {
    delete place.dataset.asks;
    place.replaceChildren(...buttons);
  }
  show();
  return place;
}
