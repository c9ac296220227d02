// The request of an answer as a program. The key itself never stands in it.

import { curl } from "./curl.js";
import { announce, h } from "./element.js";
import { javascript } from "./javascript.js";
import { python } from "./python.js";

/** "Copy as", with the code that was copied. `request` has path, body and the files that it sends, by their names. */
export function snippet(request) {
  const code = h("pre", { hidden: true, tabindex: "0", "aria-label": "Code" });
  const languages = { curl, Python: python, JavaScript: javascript };
  const buttons = Object.entries(languages).map(([name, write]) => {
    const button = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, name);
    button.addEventListener("click", () => {
      const again = button.getAttribute("aria-pressed") === "true";
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button && !again));
      code.hidden = again;
      if (again) return;
      code.textContent = write(shortened(request));
      copy(code, name);
    });
    return button;
  });
  return h("div", { class: "snippet" }, h("div", { class: "buttons" }, "Copy as", buttons), code);
}

async function copy(code, name) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    announce(`Copied as ${name}.`);
  } catch {
    getSelection().selectAllChildren(code); // not on https or localhost: it is selected instead
    announce(`The ${name} code is selected. Copy it with your keyboard.`);
  }
}

/** Images in base64 would bury the rest; of files, their names are enough. */
function shortened({ path, body, files = {} }) {
  const short = JSON.parse(JSON.stringify(body), (_, value) =>
    typeof value === "string" && value.startsWith("data:image/") ? value.replace(/,.*/s, ",BASE64_OF_YOUR_IMAGE") : value,
  );
  return { path, body: short, files: Object.entries(files).map(([name, file]) => [name, file.name]) };
}
