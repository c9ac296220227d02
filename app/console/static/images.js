// Images: of a prompt, of another image with a prompt, and variations of one.

import { can, modelChoice } from "./directory.js";
import { h } from "./element.js";
import { area, choice, field, given, number, pair } from "./field.js";
import { showStream, showWhole } from "./gallery.js";
import { InputImage } from "./input_image.js";
import { task } from "./task.js";
import { Ways } from "./ways.js";

const STREAMED = ["size", "quality", "partial_images", "seed"];
export const WAYS = [
  { path: "/v1/images/generations", ability: "images", name: "From a text", takes: ["prompt", ...STREAMED] },
  { path: "/v1/images/edits", ability: "edits", name: "Change an image", takes: ["image", "prompt", "strength", ...STREAMED] },
  { path: "/v1/images/variations", ability: "variations", name: "Vary an image", takes: ["image", "n", "size", "strength", "seed"] },
];

export function images() {
  const controls = {
    prompt: area({ rows: 3, name: "prompt", placeholder: "A red circle on the left of a blue square" }),
    size: h("input", { name: "size", placeholder: "default, or such as 512x512" }),
    quality: choice([{ value: "", name: "default" }, "low", "medium", "high"]),
    partial_images: number({ min: 0, max: 3, step: 1, value: "3" }),
    strength: number({ min: 0.05, max: 1 }),
    n: number({ min: 1, step: 1 }),
    seed: number({ step: 1, placeholder: "random" }),
  };
  const fields = {
    prompt: field("Prompt", controls.prompt),
    size: field("Size", controls.size),
    quality: field("Quality", controls.quality),
    partial_images: field("Partial images", controls.partial_images),
    strength: field("Strength", controls.strength, "1 keeps nothing of the image."),
    n: field("How many", controls.n),
    seed: field("Seed", controls.seed, "The same seed draws the same image again."),
  };
  const image = new InputImage();
  const ways = new Ways("What to draw", WAYS, ({ path, takes }, model) => {
    for (const [name, one] of Object.entries(fields)) one.hidden = !takes.includes(name);
    controls.prompt.required = takes.includes("prompt");
    image.element.hidden = !takes.includes("image");
    image.offerMask(path === "/v1/images/edits" && can(model, "masks"));
  });
  const model = modelChoice("images", (chosen) => ways.use(chosen));
  return task({
    name: "Draw",
    inputs: [ways.element, image.element, fields.prompt],
    settings: [
      field("Model", model.element),
      fields.size,
      pair(fields.quality, fields.partial_images),
      pair(fields.strength, fields.n),
      fields.seed,
    ],
    async request() {
      const { path, takes } = ways.chosen();
      const taken = Object.entries(controls).filter(([name]) => takes.includes(name));
      const stream = takes.includes("partial_images") ? { stream: true } : {};
      const files = takes.includes("image") ? await image.files() : {};
      return { path, body: { model: model.chosen().id, ...stream, ...given(Object.fromEntries(taken)) }, files };
    },
    async show(response, result, facts, { body }) {
      if (body.stream) await showStream(response, result, facts, body.prompt);
      else await showWhole(response, result, facts, "Variation");
    },
  });
}
