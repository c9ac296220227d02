// Asks for the key, once a tab.

import { ownKey } from "./api.js";
import { h } from "./element.js";
import { field } from "./field.js";
import { failureNotice } from "./notice.js";
import { keepKey } from "./session.js";

/** `ondone` is called once the service has accepted a key. */
export function signIn(ondone) {
  const input = h("input", { type: "password", name: "key", required: true, autocomplete: "off", spellcheck: "false", placeholder: "sk-portico-…" });
  const problem = h("div");
  const button = h("button", { class: "main" }, "Continue");
  const form = h(
    "form",
    { class: "sign-in" },
    h("h1", {}, "Your API key"),
    h("p", {}, "It is kept in this tab until you close it, and sent to this service only."),
    field("Key", input),
    problem,
    button,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const key = input.value.trim();
    try {
      await ownKey({ key });
      keepKey(key);
      ondone();
    } catch (error) {
      problem.replaceChildren(failureNotice(error));
      input.focus();
    }
    button.disabled = false;
  });
  return { element: form, shown: () => input.focus() };
}
