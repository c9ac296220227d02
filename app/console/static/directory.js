// The models that this key may use and the routes of this service, as they were last seen; the choice of a model.

import { directory } from "./api.js";
import { h } from "./element.js";

let known = [];
let routes = null; // not known yet
const choices = [];

/** Ask the service again. */
export async function refresh() {
  ({ models: known, routes } = await directory());
  for (const update of choices) update();
  return known;
}

/** A list of the models of a task that have an ability. `onchange` is called with the one that is chosen, or null. */
export function modelChoice(task, onchange = () => {}, ability = null) {
  const select = h("select", { name: "model", onchange: () => onchange(chosen()) });
  const chosen = () => known.find((model) => model.id === select.value) ?? null;
  const update = () => {
    const before = select.value;
    const own = known.filter((model) => model.task === task && (ability === null || can(model, ability)));
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

/** Whether there is a route; an operator may have disabled it. Where that is not known: `otherwise`. */
export const serves = (path, otherwise = true) => routes?.includes(path) ?? otherwise;

export const can = (model, ability) => Boolean(model?.profile?.capabilities.includes(ability));
