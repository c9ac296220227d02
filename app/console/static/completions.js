// Plain completions: the text that follows a prompt, or that fits between two.

import { pieces } from "./chat.js";
import { can, modelChoice } from "./directory.js";
import { h } from "./element.js";
import { events } from "./events.js";
import { area, field, given } from "./field.js";
import { sampling } from "./sampling.js";
import { task } from "./task.js";

export const path = "/v1/completions";
const LENGTH = 64; // the service's own default is 16, too short to see much

export function completions() {
  const prompt = area({ rows: 5, name: "prompt", required: true, value: "Once upon a time" });
  const suffix = area({ rows: 3, name: "suffix", placeholder: "nothing: the prompt is continued" });
  const end = field("Text after it", suffix, "The model fills in what stands between.");
  const model = modelChoice("chat", (chosen) => (end.hidden = !can(chosen, "fill_in_the_middle")), "completions");
  const { numbers, element } = sampling();
  const { max_output_tokens: max_tokens, ...others } = numbers;
  max_tokens.value = LENGTH;
  return task({
    name: "Complete",
    inputs: [field("Prompt", prompt), end],
    settings: [field("Model", model.element), element],
    request() {
      const body = { model: model.chosen()?.id, prompt: prompt.value, stream: true, stream_options: { include_usage: true } };
      return { path, body: { ...body, ...given({ max_tokens, ...others, ...(end.hidden ? {} : { suffix }) }) } };
    },
    async show(response, result, facts) {
      const text = h("span");
      const after = end.hidden ? "" : suffix.value;
      result.append(h("p", { class: "completed" }, h("span", { class: "given" }, prompt.value), text, h("span", { class: "given" }, after)));
      let tokens;
      for await (const piece of pieces(deltas(events(response)))) {
        if (piece.text) facts.piece();
        text.append(piece.text ?? "");
        if (piece.cut) facts.set("Ended", "at the limit of tokens");
        tokens = piece.tokens ?? tokens;
      }
      facts.end({ tokens });
    },
  });
}

/** The events as a chat's. */
async function* deltas(events) {
  for await (const { choices, usage } of events) {
    yield { usage, choices: choices.map(({ text, ...rest }) => ({ ...rest, delta: { content: text } })) };
  }
}
