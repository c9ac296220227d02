// Embeddings: how alike texts are, as a heat map.

import { Failure } from "./api.js";
import { modelChoice } from "./directory.js";
import { h } from "./element.js";
import { area, field, given, lines, number } from "./field.js";
import { heatMap } from "./heat_map.js";
import { count } from "./numbers.js";
import { task } from "./task.js";

export const path = "/v1/embeddings";
const TEXTS = ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Stocks fell sharply today.", "The market lost ground."];

export function embeddings() {
  const texts = area({ rows: 6, name: "texts", value: TEXTS.join("\n") });
  const model = modelChoice("embeddings");
  let input = [];
  const dimensions = number({ min: 1, step: 1 });
  return task({
    name: "Compare",
    inputs: [field("Texts, one a line", texts)],
    settings: [field("Model", model.element), field("Dimensions", dimensions, "Fewer only where the model was trained for it.")],
    request() {
      input = lines(texts);
      if (input.length < 2) throw new Failure("Two texts are needed to compare them.");
      return { path, body: { model: model.chosen()?.id, input, encoding_format: "float", ...given({ dimensions }) } };
    },
    async show(response, result, facts) {
      const { data, usage } = await response.json();
      const vectors = data.map((one) => one.embedding);
      result.append(heatMap(input, vectors));
      result.append(h("p", { class: "caption" }, `Cosine similarity of vectors with ${count(vectors[0].length)} numbers.`));
      facts.set("Usage", `${count(usage.prompt_tokens)} tokens`);
      facts.end();
    },
  });
}
