// The page: which view is shown, and whether there is a key.

import * as chat from "./chat.js";
import * as completions from "./completions.js";
import { conversation } from "./conversation.js";
import { refresh, serves } from "./directory.js";
import { h } from "./element.js";
import * as embeddings from "./embeddings.js";
import * as images from "./images.js";
import { keyView } from "./key.js";
import * as keys from "./keys.js";
import { modelsView } from "./models.js";
import { failureNotice } from "./notice.js";
import * as rerank from "./rerank.js";
import * as responses from "./responses.js";
import { forgetKey, readKey } from "./session.js";
import { signIn } from "./sign_in.js";
import * as speech from "./speech.js";
import * as transcriptions from "./transcriptions.js";
import * as usage from "./usage.js";

// The title of each, what makes it, and the routes that it calls: without any of them it is not offered.
const TASKS = {
  chat: ["Chat", () => conversation(chat), [chat.path]],
  responses: ["Responses", () => conversation(responses), [responses.path]],
  completions: ["Completion", completions.completions, [completions.path]],
  embeddings: ["Embeddings", embeddings.embeddings, [embeddings.path]],
  rerank: ["Rerank", rerank.rerank, [rerank.path]],
  images: ["Image", images.images, images.WAYS.map(({ path }) => path)],
  transcriptions: ["Speech to text", transcriptions.transcriptions, transcriptions.WAYS.map(({ path }) => path)],
  speech: ["Text to speech", speech.speech, [speech.path]],
};
const OTHERS = { models: ["Models", modelsView], key: ["My key", keyView], keys: ["Keys", keys.keysView, keys.path], usage: ["Usage", usage.usageView, usage.path] };

const main = document.getElementById("main");
const nav = document.getElementById("views");
const forget = document.getElementById("forget");
const made = new Map(); // views, so that what was done in them stays
let current = null;
let asking = false; // which models and routes there are

function view(name) {
  if (!made.has(name)) made.set(name, name in OTHERS ? OTHERS[name][1]() : TASKS[name][1]());
  return made.get(name);
}

const others = () => Object.keys(OTHERS).filter((one) => OTHERS[one].slice(2).every((path) => serves(path, false)));
const offered = () => Object.keys(TASKS).filter((one) => TASKS[one][2].some((path) => serves(path)));

function tabs(name) {
  const links = offered().map((one) => h("a", { href: `#/${one}`, "aria-current": one === name ? "page" : null }, TASKS[one][0]));
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
  if (asking) return;
  const views = [...offered(), ...others()];
  const asked = location.hash.slice(2);
  const name = views.includes(asked) ? asked : views[0];
  for (const link of nav.querySelectorAll("[data-view]")) {
    link.hidden = link.dataset.view in OTHERS && !others().includes(link.dataset.view);
    const isCurrent = link.dataset.view === (name in TASKS ? "play" : name);
    if (isCurrent) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  current = view(name);
  main.replaceChildren(...(name in TASKS ? [tabs(name)] : []), current.element);
  main.querySelector(".tasks [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.title = `${(TASKS[name] ?? OTHERS[name])[0]} · Portico`;
  current.shown?.();
}

/** There is a key: learn which models it may use, and by which routes. */
async function enter() {
  asking = true;
  main.replaceChildren(h("p", { class: "empty" }, "Asking which models there are…"));
  show();
  let failure = null;
  try {
    await refresh();
  } catch (error) {
    failure = error;
  }
  asking = false;
  if (failure?.status === 401) forgetKey();
  show();
  if (failure) main.prepend(failureNotice(failure));
}

forget.addEventListener("click", () => {
  forgetKey();
  location.reload(); // with all that was shown with it
});
document.getElementById("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", show);
if (readKey()) enter();
else show();
