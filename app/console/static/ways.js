// The ways to use a model of a task: those that its abilities and the routes of this service leave.

import { Failure } from "./api.js";
import { can, serves } from "./directory.js";
import { h } from "./element.js";

export class Ways {
  /**
   * `ways` have a `name`, the `path` they call, and the `ability` they need; the first one's is the task itself.
   * `onchange` is called with the chosen one and the model.
   */
  constructor(legend, ways, onchange = () => {}) {
    this.onchange = onchange;
    this.model = null;
    this.options = ways.map((way) => {
      const input = h("input", { type: "radio", name: legend, onchange: () => onchange(way, this.model) });
      return { way, input, element: h("label", {}, input, h("span", {}, way.name)) };
    });
    this.element = h("fieldset", { class: "ways" }, h("legend", {}, legend), this.options.map(({ element }) => element));
  }

  /** Offer those of a model. Of one that has not started yet only its task is known. */
  use(model) {
    this.model = model;
    const isOffered = ({ path, ability }) => serves(path) && (model?.profile ? can(model, ability) : ability === model?.task);
    for (const { way, element } of this.options) element.hidden = !isOffered(way);
    const offered = this.options.filter(({ element }) => !element.hidden);
    this.element.hidden = offered.length < 2;
    if (offered.length && !this.#chosen) offered[0].input.checked = true;
    this.onchange((this.#chosen ?? this.options[0]).way, model);
  }

  /** The chosen one. Throws Failure where the model has none. */
  chosen() {
    if (!this.#chosen) throw new Failure("There is no model for this. See Models.");
    return this.#chosen.way;
  }

  get #chosen() {
    return this.options.find(({ input, element }) => input.checked && !element.hidden);
  }
}
