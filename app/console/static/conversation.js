// A conversation, over chat completions or over responses: both speak through the same few functions.

import { call } from "./api.js";
import { Attachments } from "./attachments.js";
import { can } from "./directory.js";
import { announce, h } from "./element.js";
import { events } from "./events.js";
import { area } from "./field.js";
import { failureNotice } from "./notice.js";
import { Settings } from "./settings.js";
import { AssistantTurn, UserTurn } from "./turn.js";

const NEAR_END = 160; // pixels: whoever is so near the end of the page follows it

/** `wire` has the path, makes requests of turns and pieces of events: `chat.js` or `responses.js`. */
export function conversation(wire) {
  const view = new Conversation(wire);
  return { element: view.element };
}

class Conversation {
  constructor(wire) {
    this.wire = wire;
    this.turns = [];
    this.stopping = null; // an AbortController while an answer comes
    this.attachments = new Attachments();
    this.settings = new Settings((model) => this.#useModel(model));
    this.input = area({ rows: 1, "aria-label": "Message", placeholder: "Write a message", onkeydown: (event) => this.#key(event) });
    this.input.addEventListener("paste", (event) => this.#paste(event));
    this.send = h("button", { class: "main" }, "Send");
    this.fresh = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#begin() }, "New conversation");
    this.list = h("ol", { class: "turns", "aria-label": "Conversation" });
    this.empty = h("p", { class: "empty" }, "Enter sends, Shift and Enter begins a new line, Escape stops an answer.");
    this.problem = h("div");
    const buttons = h("div", { class: "buttons" }, this.attachments.button, this.fresh, this.send);
    const composer = h("form", { class: "composer" }, this.attachments.list, this.input, this.attachments.file, buttons);
    composer.addEventListener("submit", (event) => this.#submit(event));
    const stage = h("section", { class: "stage", "aria-label": "Conversation" }, this.list, this.empty, this.problem, composer);
    this.element = h("div", { class: "play" }, stage, this.settings.element);
  }

  #useModel(model) {
    this.attachments.button.hidden = !can(model, "vision");
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.stopping) this.send.click();
    }
    if (event.key === "Escape") this.stopping?.abort();
  }

  async #paste(event) {
    if (this.attachments.button.hidden) return;
    for (const file of event.clipboardData.files) if (file.type.startsWith("image/")) await this.attachments.add(file);
  }

  #begin() {
    this.stopping?.abort();
    this.turns = [];
    this.list.replaceChildren();
    this.problem.replaceChildren();
    this.empty.hidden = false;
    this.fresh.hidden = true;
    this.input.focus();
  }

  async #submit(event) {
    event.preventDefault();
    if (this.stopping) return this.stopping.abort();
    const text = this.input.value.trim();
    if (!text) return undefined;
    return this.#answer(() => {
      const turn = new UserTurn(text, this.attachments.take());
      this.#push(turn);
      this.input.value = "";
    });
  }

  /** Get the next answer, after what `say` adds to the conversation. */
  async #answer(say = () => {}) {
    let settings;
    this.problem.replaceChildren();
    try {
      settings = this.settings.read();
    } catch (error) {
      this.problem.replaceChildren(failureNotice(error));
      return;
    }
    say();
    const turns = this.turns.filter((turn) => !turn.failed);
    const body = this.wire.request({ ...settings, turns });
    const turn = new AssistantTurn({ path: this.wire.path, body });
    this.#push(turn);
    this.stopping = new AbortController();
    this.send.textContent = "Stop";
    await this.#fill(turn, body, this.stopping.signal);
    this.stopping = null;
    this.send.textContent = "Send";
  }

  async #fill(turn, body, signal) {
    try {
      const response = await call(this.wire.path, { body, signal });
      turn.facts.head(response);
      for await (const piece of this.wire.pieces(events(response))) this.#follow(() => turn.add(piece));
      announce(turn.text || "The model calls a function.");
    } catch (error) {
      if (error.name === "AbortError") turn.facts.set("Ended", "you stopped it");
      else this.#follow(() => turn.fail(error));
    }
    this.#follow(() => turn.end());
    if (turn.calls.length && !turn.failed) this.#follow(() => turn.askForResults(() => this.#answer()));
  }

  #push(turn) {
    this.turns.push(turn);
    this.empty.hidden = true;
    this.fresh.hidden = false;
    this.list.append(turn.element);
    scrollTo({ top: document.body.scrollHeight });
  }

  /** Let the page follow what is added, where its end is in view. */
  #follow(add) {
    const atEnd = innerHeight + scrollY >= document.body.scrollHeight - NEAR_END;
    add();
    if (atEnd) scrollTo({ top: document.body.scrollHeight });
  }
}
