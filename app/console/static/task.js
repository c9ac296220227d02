// What the tasks other than conversations share: a form, its settings at the side, and results, the newest first.

import { call } from "./api.js";
import { announce, h } from "./element.js";
import { Facts } from "./facts.js";
import { failureNotice } from "./notice.js";
import { panel } from "./panel.js";

/**
 * `inputs` stand above the button, `settings` at the side, the model first. `request()` returns {path, body} with the name and content
 * of a file where it has one. `show(response, result, facts)` fills the result as the answer comes.
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
    let facts;
    try {
      const { path, body, file } = request();
      facts = new Facts({ path, body, file: file?.name });
      const result = h("section", { class: "result", "aria-label": "Answer" });
      const response = await call(path, { body: file ? multipart(body, file) : body, signal });
      results.prepend(result);
      await show(response, result, facts.head(response));
      result.append(facts.element);
      announce(`${name}: the answer is there.`);
    } catch (error) {
      if (error.name !== "AbortError") problem.replaceChildren(failureNotice(error));
    }
  }

  const stage = h("section", { class: "stage", "aria-label": name }, form, problem, results);
  return { element: h("div", { class: "play" }, stage, panel(...settings)) };
}

function multipart(body, file) {
  const form = new FormData();
  for (const [name, value] of Object.entries(body)) for (const one of [value].flat()) form.append(name, one);
  form.append("file", file, file.name);
  return form;
}
