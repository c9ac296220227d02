// The models that this key may use, as they were last seen, and the choice of one for a task.

import { models } from "./api.js";
import { h } from "./element.js";

let known = [];
const choices = [];

/** Ask the service again. */
export async function refresh() {
  known = await models();
  for (const update of choices) update();
  return known;
}

/** A list of the models of a task. `onchange` is called with the model that is chosen, or null. */
export function modelChoice(task, onchange = () => {}) {
  const select = h("select", { name: "model", onchange: () => onchange(chosen()) });
  const chosen = () => known.find((model) => model.id === select.value) ?? null;
  const update = () => {
    const before = select.value;
    const own = known.filter((model) => model.task === task);
    select.replaceChildren(...own.map(option));
    if (!own.length) select.append(h("option", { value: "" }, "no model for this"));
    const best = own.find((model) => model.id === before) ?? own.find(isUsable) ?? own[0];
    if (best) select.value = best.id;
    onchange(chosen());
  };
  choices.push(update);
  update();
  return { element: select, chosen };
}

const isUsable = (model) => model.state === "ready" || model.state === "asleep";

function option(model) {
  return h("option", { value: model.id }, model.state === "ready" ? model.id : `${model.id} (${model.state})`);
}

export const can = (model, ability) => Boolean(model?.profile?.capabilities.includes(ability));
