// Images, with their partial images as they come.

import { modelChoice } from "./directory.js";
import { h } from "./element.js";
import { events } from "./events.js";
import { area, choice, field, given, number, pair } from "./field.js";
import { count } from "./numbers.js";
import { task } from "./task.js";

const path = "/v1/images/generations";

export function images() {
  const prompt = area({ rows: 3, name: "prompt", required: true, placeholder: "A red circle on the left of a blue square" });
  const model = modelChoice("images");
  const size = h("input", { name: "size", placeholder: "default, or such as 512x512" });
  const quality = choice([{ value: "", name: "default" }, "low", "medium", "high"]);
  const partial = number({ min: 0, max: 3, step: 1, value: "3" });
  const seed = number({ step: 1, placeholder: "random" });
  return task({
    name: "Draw",
    inputs: [field("Prompt", prompt)],
    settings: [
      field("Model", model.element),
      field("Size", size),
      pair(field("Quality", quality), field("Partial images", partial)),
      field("Seed", seed, "The same seed draws the same image again."),
    ],
    request() {
      const body = { model: model.chosen()?.id, prompt: prompt.value, stream: true };
      return { path, body: { ...body, ...given({ size, quality, partial_images: partial, seed }) } };
    },
    async show(response, result, facts) {
      const picture = h("img", { class: "picture", alt: prompt.value });
      const film = h("div", { class: "film" });
      const caption = h("figcaption", {}, prompt.value);
      result.setAttribute("aria-busy", "true");
      result.append(h("div", { class: "gallery" }, h("figure", {}, picture, film, caption)));
      for await (const event of events(response)) {
        facts.piece("First image");
        picture.src = `data:image/${event.output_format ?? "png"};base64,${event.b64_json}`;
        if (event.type === "image_generation.partial_image") {
          film.append(h("img", { src: picture.src, alt: `Partial image ${event.partial_image_index + 1}` }));
        } else if (event.usage) facts.set("Usage", `${count(event.usage.total_tokens)} tokens`);
      }
      result.removeAttribute("aria-busy");
      facts.end();
    },
  });
}
