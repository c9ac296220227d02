// The models that this key may use: how they are, what they can do, what they have to do.

import { chart } from "./chart.js";
import { refresh } from "./directory.js";
import { h } from "./element.js";
import { remember, ROOM } from "./history.js";
import { failureNotice } from "./notice.js";
import { count, duration, percent, rough } from "./numbers.js";
import { polled } from "./polling.js";

const STAGES = { queued: "waits for room", loading: "loads the model", "warming up": "warms up" };
const TASKS = {
  chat: "Chat",
  embeddings: "Embeddings",
  rerank: "Reranking",
  images: "Images",
  transcriptions: "Speech to text",
  speech: "Text to speech",
};

export function modelsView() {
  const cards = h("div", { class: "cards" });
  const summary = h("p", {}, "Asking…");
  const element = h("section", {}, h("div", { class: "head" }, h("h1", {}, "Models"), summary), cards);
  const look = async () => {
    try {
      const models = await refresh();
      const now = performance.now();
      summary.textContent = summaryOf(models);
      cards.replaceChildren(...models.map((model) => card(model, remember(model, now))));
    } catch (error) {
      cards.replaceChildren(failureNotice(error));
    }
  };
  return { element, ...polled(look) };
}

function summaryOf(models) {
  const ready = models.filter((model) => model.state === "ready").length;
  return `${ready} of ${models.length} ready. Charts show what happened since you opened this page.`;
}

function trouble(model) {
  if (model.state !== "failed" && !model.error) {
    return null;
  }
  return h("div", { class: "notice bad" }, h("p", {}, model.error ?? "No error is known."));
}

function card(model, series) {
  const titled = `model-${model.id}`;
  return h(
    "article",
    { class: "card", "aria-labelledby": titled },
    h("header", {}, h("div", {}, h("h2", { id: titled }, model.id), h("p", { class: "sub" }, `${TASKS[model.task]}, ${model.engine}`)), state(model)),
    model.start ? h("p", { class: "sub" }, `It ${STAGES[model.start.stage]}, for ${duration(model.start.seconds)} so far.`) : null,
    trouble(model),
    numbers(model),
    model.profile ? abilities(model.profile) : null,
    model.state === "failed" ? null : charts(model, series),
  );
}

const state = ({ state: name }) => h("span", { class: "state", "data-state": name }, name);

function numbers({ replicas: { running, min, max }, profile, speculation }) {
  const context = profile?.limits.context_length;
  const rows = [["Replicas", min === max ? `${running} of ${max}` : `${running}, ${min} to ${max}`]];
  if (context) rows.push(["Context, in tokens", count(context)]);
  if (speculation) {
    const rate = speculation.acceptance_rate;
    rows.push([`Drafts accepted, ${speculation.method}`, rate === null ? "none yet" : percent(rate)]);
  }
  return h("dl", { class: "numbers" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function abilities({ capabilities, unsupported }) {
  const missing = Object.entries(unsupported);
  return h(
    "div",
    {},
    h("ul", { class: "chips", "aria-label": "Verified abilities" }, capabilities.map((name) => h("li", {}, name))),
    missing.length
      ? h("details", {}, h("summary", {}, `${missing.length} not supported`), h("ul", { class: "sub" }, missing.map(([name, why]) => h("li", {}, `${name}: ${why}`))))
      : null,
  );
}

function charts({ task }, { waiting, tokens, requests }) {
  const rate = task === "chat" ? chart("Tokens a second", tokens, ROOM, rough) : chart("Requests a minute", requests, ROOM, rough);
  return h("div", { class: "charts" }, chart("Queue", waiting, ROOM, count), rate);
}
