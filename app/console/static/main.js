// The page: which view is shown, and whether there is a key.

import * as chat from "./chat.js";
import { conversation } from "./conversation.js";
import { refresh } from "./directory.js";
import { h } from "./element.js";
import { embeddings } from "./embeddings.js";
import { images } from "./images.js";
import { keyView } from "./key.js";
import { modelsView } from "./models.js";
import { failureNotice } from "./notice.js";
import * as responses from "./responses.js";
import { forgetKey, readKey } from "./session.js";
import { signIn } from "./sign_in.js";
import { speech } from "./speech.js";
import { transcriptions } from "./transcriptions.js";

const TASKS = {
  chat: ["Chat", () => conversation(chat)],
  responses: ["Responses", () => conversation(responses)],
  embeddings: ["Embeddings", embeddings],
  images: ["Image", images],
  transcriptions: ["Speech to text", transcriptions],
  speech: ["Text to speech", speech],
};
const OTHERS = { models: modelsView, key: keyView };

const main = document.getElementById("main");
const nav = document.getElementById("views");
const forget = document.getElementById("forget");
const made = new Map(); // views, so that what was done in them stays
let current = null;

function view(name) {
  if (!made.has(name)) made.set(name, name in OTHERS ? OTHERS[name]() : TASKS[name][1]());
  return made.get(name);
}

function tabs(name) {
  const links = Object.entries(TASKS).map(([one, [title]]) =>
    h("a", { href: `#/${one}`, "aria-current": one === name ? "page" : null }, title),
  );
  return h("nav", { class: "tasks", "aria-label": "What to try" }, links);
}

function show() {
  current?.hidden?.();
  const hasKey = readKey() !== null;
  nav.hidden = forget.hidden = !hasKey;
  if (!hasKey) {
    current = signIn(enter);
    main.replaceChildren(current.element);
    current.shown();
    return;
  }
  const asked = location.hash.slice(2);
  const name = Object.hasOwn(TASKS, asked) || Object.hasOwn(OTHERS, asked) ? asked : "chat";
  for (const link of nav.querySelectorAll("[data-view]")) {
    const isCurrent = link.dataset.view === (name in TASKS ? "play" : name);
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  current = view(name);
  main.replaceChildren(...(name in TASKS ? [tabs(name)] : []), current.element);
  main.querySelector(".tasks [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.title = `${name in TASKS ? TASKS[name][0] : { models: "Models", key: "My key" }[name]} · Portico`;
  current.shown?.();
}

/** There is a key: learn which models it may use. */
async function enter() {
  show();
  try {
    await refresh();
  } catch (error) {
    if (error.status === 401) {
      forgetKey();
      show();
    }
    main.prepend(failureNotice(error));
  }
}

forget.addEventListener("click", () => {
  forgetKey();
  location.reload(); // with all that was shown with it
});
document.getElementById("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", show);
if (readKey()) enter();
else show();
