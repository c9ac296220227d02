// A conversation, over chat completions or over responses: both speak through the same few functions.

import { call } from "./api.js";
import { Attachments } from "./attachments.js";
import { can, serves } from "./directory.js";
import { announce, h } from "./element.js";
import { events } from "./events.js";
import { area } from "./field.js";
import { receiveImages } from "./image_files.js";
import { failureNotice } from "./notice.js";
import { count } from "./numbers.js";
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
    this.counter = h("button", { type: "button", class: "quiet", title: "It is one request of your budget.", onclick: () => this.#countTokens() }, "Count tokens");
    this.size = h("output", { class: "caption", "aria-label": "Tokens" });
    this.settings = new Settings((model) => this.#useModel(model));
    this.input = area({ rows: 1, "aria-label": "Message", placeholder: "Write a message", onkeydown: (event) => this.#key(event) });
    this.input.addEventListener("input", () => (this.size.textContent = ""));
    this.send = h("button", { class: "main" }, "Send");
    this.fresh = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#begin() }, "New conversation");
    this.list = h("ol", { class: "turns", "aria-label": "Conversation" });
    this.empty = h("p", { class: "empty" }, "Enter sends, Shift and Enter begins a new line, Escape stops an answer.");
    this.problem = h("div");
    const buttons = h("div", { class: "buttons" }, this.attachments.button, this.counter, this.size, this.fresh, this.send);
    const composer = h("form", { class: "composer" }, this.attachments.list, this.input, this.attachments.file, buttons);
    composer.addEventListener("submit", (event) => this.#submit(event));
    receiveImages(composer, (file) => this.attachments.add(file), () => !this.attachments.button.hidden);
    const stage = h("section", { class: "stage", "aria-label": "Conversation" }, this.list, this.empty, this.problem, composer);
    this.element = h("div", { class: "play" }, stage, this.settings.element);
  }

  #useModel(model) {
    this.attachments.button.hidden = !can(model, "vision");
    this.counter.hidden = !serves(this.wire.counting.path) || !can(model, this.wire.counting.ability);
    this.size.textContent = "";
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.stopping) this.send.click();
    }
    if (event.key === "Escape") this.stopping?.abort();
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

  /** Say how many tokens the next request would have. */
  async #countTokens() {
    const { path, request, tokens } = this.wire.counting;
    const said = this.input.value.trim() ? [{ role: "user", text: this.input.value.trim(), images: this.attachments.urls }] : [];
    this.problem.replaceChildren();
    if (!said.length && !this.turns.length) return this.input.focus();
    try {
      const body = request({ ...this.settings.read(), turns: [...this.#spoken(), ...said] });
      const number = tokens(await (await call(path, { body })).json());
      const room = this.settings.model.chosen().profile.limits.context_length;
      this.size.textContent = `${count(number)} tokens${room ? ` of ${count(room)}` : ""}`;
    } catch (error) {
      this.problem.replaceChildren(failureNotice(error));
    }
    return undefined;
  }

  /** The turns that count: an answer that failed is none. */
  #spoken() {
    return this.turns.filter((turn) => !turn.failed);
  }

  async #submit(event) {
    event.preventDefault();
    if (this.stopping) return this.stopping.abort();
    const text = this.input.value.trim();
    if (!text) return undefined;
    return this.#answer(() => {
      const turn = new UserTurn(text, this.attachments.take());
      this.#push(turn);
      this.input.value = this.size.textContent = "";
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
    const body = this.wire.request({ ...settings, turns: this.#spoken() });
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
