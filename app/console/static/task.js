// What the tasks other than conversations share: a form, its settings at the side, and results, the newest first.

import { call } from "./api.js";
import { announce, h } from "./element.js";
import { Facts } from "./facts.js";
import { failureNotice } from "./notice.js";
import { panel } from "./panel.js";

/**
 * `inputs` stand above the button, `settings` at the side, the model first. `request()` returns {path, body, files}, where `files` has
 * those that it sends by their parameters' names. `show(response, result, facts, request)` fills the result as the answer comes.
 */
export function task({ name, inputs, settings, request, show }) {
  const button = h("button", { class: "main" }, name);
  const results = h("div", { class: "results" });
  const problem = h("div");
  let stopping = null;
  const form = h("form", { class: "work" }, inputs, h("div", { class: "buttons end" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (stopping) return stopping.abort();
    stopping = new AbortController();
    button.textContent = "Stop";
    await run(stopping.signal);
    stopping = null;
    button.textContent = name;
    return undefined;
  });

  async function run(signal) {
    problem.replaceChildren();
    const result = h("section", { class: "result", "aria-label": "Answer", "aria-busy": "true" });
    let facts;
    try {
      const { path, body, files = {} } = await request();
      facts = new Facts({ path, body, files });
      const response = await call(path, { body: Object.keys(files).length ? multipart(body, files) : body, signal });
      results.prepend(result);
      await show(response, result, facts.head(response), { path, body });
      announce(`${name}: the answer is there.`);
    } catch (error) {
      if (error.name === "AbortError") facts.set("Ended", "you stopped it");
      else problem.replaceChildren(failureNotice(error));
    }
    result.removeAttribute("aria-busy");
    if (facts) result.append(facts.element);
  }

  const stage = h("section", { class: "stage", "aria-label": name }, form, problem, results);
  return { element: h("div", { class: "play" }, stage, panel(...settings)) };
}

function multipart(body, files) {
  const form = new FormData();
  for (const [name, value] of Object.entries(body)) for (const one of [value].flat()) form.append(name, one);
  for (const [name, file] of Object.entries(files)) form.append(name, file, file.name);
  return form;
}
