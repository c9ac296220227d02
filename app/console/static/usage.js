// What everybody has used, and what teams may, for operators.

import { call } from "./api.js";
import { bar } from "./bar.js";
import { h } from "./element.js";
import { choice, field, pair } from "./field.js";
import { failureNotice } from "./notice.js";
import { count, rough } from "./numbers.js";

export const path = "/admin/usage";

const DAY = 86_400_000;
const GROUPS = ["key", "team", "model", "route", "status"];
const PERIODS = [
  { value: "", name: "all together" },
  { value: "day", name: "each day" },
  { value: "month", name: "each month" },
];
const RANGES = [
  { value: "7", name: "7 days" },
  { value: "30", name: "30 days" },
  { value: "90", name: "90 days" },
];
const SUMS = [
  ["Requests", "num_model_requests"],
  ["Input tokens", "input_tokens"],
  ["Output tokens", "output_tokens"],
  ["Images", "images"],
  ["Seconds", "seconds"],
  ["Characters", "characters"],
];

export function usageView() {
  const group = choice(GROUPS, { onchange: () => look() });
  const period = choice(PERIODS, { onchange: () => look() });
  const range = choice(RANGES, { onchange: () => look() });
  range.value = "30";
  const teams = h("div", { class: "cards" });
  const said = h("div", { class: "said" });
  const table = h("div", { class: "scrolls" });
  const controls = h("div", { class: "make" }, pair(field("For each", group), field("Over time", period)), pair(field("Of the last", range)));
  const ask = async () => {
    try {
      const since = new Date(Date.now() - Number(range.value) * DAY).toISOString();
      const by = [period.value, group.value].filter(Boolean).join(",");
      const page = await (await call(`${path}?${new URLSearchParams({ by, since })}`)).json();
      said.replaceChildren();
      table.replaceChildren(sums(page.data, group.value, period.value));
    } catch (error) {
      said.replaceChildren(failureNotice(error));
      table.replaceChildren();
    }
    try {
      const { data } = await (await call("/admin/teams")).json();
      teams.replaceChildren(...data.map(team));
    } catch (error) {
      said.append(failureNotice(error));
    }
  };
  const look = oneAtATime(ask);
  const head = h("div", { class: "head" }, h("h1", {}, "Usage"), h("p", {}, "Of all keys of this service."));
  return { element: h("section", {}, head, controls, said, table, teams), shown: look };
}

/** `ask`, which is not called again while it is under way, but once more after that: a key asks one question at a time. */
function oneAtATime(ask) {
  let asking = false;
  let again = false;
  return async () => {
    again = true;
    if (asking) return;
    asking = true;
    while (again) {
      again = false;
      await ask();
    }
    asking = false;
  };
}

function sums(buckets, group, period) {
  const heads = [period && "From", group, ...SUMS.map(([name]) => name), "Cost"].filter(Boolean);
  const rows = buckets.flatMap(({ start_time: start, results }) => results.map((sum) => row(sum, start, group, period)));
  const none = h("tr", {}, h("td", { colspan: heads.length }, "Nothing was used."));
  return h(
    "table",
    { class: "list" },
    h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.length ? rows : none),
  );
}

function row(sum, start, group, period) {
  const from = new Date(start * 1000).toISOString().slice(0, period === "month" ? 7 : 10);
  const { value, currency } = sum.amount;
  const cells = [...(period ? [from] : []), String(sum[group] ?? "none"), ...SUMS.map(([, field]) => count(sum[field]))];
  return h("tr", {}, [...cells, value ? `${value.toFixed(2)} ${currency}` : "0"].map((cell) => h("td", {}, cell)));
}

function team({ id, name, keys, monthly }) {
  const meters = Object.entries(monthly).map(([what, quota]) => meter(what, quota));
  const own = `${count(keys.length)} ${keys.length === 1 ? "key" : "keys"}`;
  return h(
    "article",
    { class: "card", "aria-label": `Team ${id}` },
    h("header", {}, h("div", {}, h("h2", {}, name || id), h("p", { class: "sub" }, `Team ${id}, ${own}`))),
    meters.length ? meters : h("p", { class: "sub" }, "Its months are not limited."),
  );
}

function meter(what, { used, soft, hard }) {
  const limit = hard ?? soft;
  const show = what === "tokens" ? count : rough;
  const attributes = { role: "meter", "aria-label": `${what} used in this month`, "aria-valuemin": 0, "aria-valuemax": limit, "aria-valuenow": used };
  const warns = soft !== null && hard !== null ? ` It is warned from ${show(soft)}.` : "";
  return h(
    "div",
    { class: "meter" },
    h("p", {}, h("span", { class: "amount" }, show(used)), ` of ${show(limit)} ${what}`),
    bar(Math.min(1, used / limit), attributes),
    h("p", { class: "hint" }, `In this month of UTC.${warns}`),
  );
}
