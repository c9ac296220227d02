// The turns of a conversation: what a person said, and what a model answered.

import { h } from "./element.js";
import { Facts } from "./facts.js";
import { failureNotice } from "./notice.js";

/** What a person said. */
export class UserTurn {
  constructor(text, images) {
    Object.assign(this, { role: "user", text, images });
    const pictures = images.map((url) => h("img", { src: url, alt: "attached image" }));
    this.element = h(
      "li",
      { class: "turn user" },
      h("p", { class: "who" }, "You"),
      images.length ? h("div", { class: "images" }, pictures) : null,
      h("p", { class: "text" }, text),
    );
  }
}

/** What a model answered, as it comes. */
export class AssistantTurn {
  constructor(request) {
    Object.assign(this, { role: "assistant", text: "", reasoning: "", calls: [], failed: false });
    this.facts = new Facts(request);
    this.textElement = h("p", { class: "text" });
    this.reasoningElement = h("p", { class: "reasoning" });
    this.thoughts = h("details", { hidden: true, open: true }, h("summary", {}, "Reasoning"), this.reasoningElement);
    this.callElements = h("div");
    this.element = h(
      "li",
      { class: "turn assistant", "aria-busy": "true" },
      h("p", { class: "who" }, request.body.model),
      this.thoughts,
      this.textElement,
      this.callElements,
      this.facts.element,
    );
  }

  /** Take one piece, as `chat.js` describes them. */
  add(piece) {
    if (piece.tokens !== undefined) this.tokens = piece.tokens;
    if (piece.cut) this.facts.set("Ended", "at the limit of tokens");
    if (piece.text || piece.reasoning || piece.call !== undefined) this.facts.piece();
    if (piece.reasoning) {
      this.thoughts.hidden = false;
      this.reasoningElement.append(piece.reasoning);
    }
    if (piece.text) {
      this.thoughts.open = false;
      this.text += piece.text;
      this.textElement.append(piece.text);
    }
    if (piece.call !== undefined) this.#addCall(piece);
  }

  #addCall({ call, id, name, arguments: more }) {
    let found = this.calls.find((one) => one.index === call);
    if (!found) this.calls.push((found = { index: call, id, name, arguments: "" }));
    found.arguments += more;
  }

  end() {
    this.element.removeAttribute("aria-busy");
    this.facts.end({ tokens: this.tokens });
    if (!this.text && !this.calls.length && !this.failed) this.textElement.append("(an empty answer)");
  }

  fail(error) {
    this.failed = true;
    this.element.insertBefore(failureNotice(error), this.facts.element);
  }

  /** Ask for the results of its calls; `onresults` is called when all are there. */
  askForResults(onresults) {
    const forms = this.calls.map((one, place) => {
      const result = h("input", { name: "result", required: true, "aria-label": `Result of ${one.name}`, placeholder: "What the function returns" });
      return { one, result, element: h("div", { class: "call" }, h("code", {}, `${one.name}(${one.arguments})`), result), place };
    });
    const send = h("button", { class: "main" }, "Send results");
    const form = h("form", { class: "work" }, forms.map(({ element }) => element), h("div", { class: "buttons end" }, send));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      for (const { one, result } of forms) {
        one.result = result.value;
        result.disabled = true;
      }
      send.remove();
      onresults();
    });
    this.callElements.replaceChildren(form);
    forms[0].result.focus();
  }
}
