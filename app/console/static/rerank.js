// Reranking: documents by how well they answer a query, as bars.

import { Failure } from "./api.js";
import { bar } from "./bar.js";
import { modelChoice } from "./directory.js";
import { h } from "./element.js";
import { area, field, given, lines, number } from "./field.js";
import { count } from "./numbers.js";
import { task } from "./task.js";

export const path = "/v1/rerank";
const DOCUMENTS = [
  "A portico is a porch with a roof on columns, before the entrance of a building.",
  "Boats are built of wood, steel or plastic.",
  "The columns of the temple carry its roof.",
];

export function rerank() {
  const query = h("input", { name: "query", required: true, value: "What is a portico?" });
  const texts = area({ rows: 6, name: "documents", value: DOCUMENTS.join("\n") });
  const model = modelChoice("rerank");
  const top_n = number({ min: 1, step: 1, placeholder: "all" });
  let documents = [];
  return task({
    name: "Rerank",
    inputs: [field("Query", query), field("Documents, one a line", texts)],
    settings: [field("Model", model.element), field("How many to return", top_n)],
    request() {
      documents = lines(texts);
      if (!documents.length) throw new Failure("There are no documents yet. Write one a line.");
      const body = { model: model.chosen()?.id, query: query.value, documents, return_documents: false };
      return { path, body: { ...body, ...given({ top_n }) } };
    },
    async show(response, result, facts) {
      const { results, usage } = await response.json();
      result.append(ranking(results.map(({ index, relevance_score: score }) => ({ score, place: index + 1, text: documents[index] }))));
      facts.set("Usage", `${count(usage.total_tokens)} tokens`);
      facts.end();
    },
  });
}

/** The best first. Bars are of scores from 0 to 1, and of wider ones where a model gives such. */
function ranking(ranked) {
  const scores = ranked.map(({ score }) => score);
  const [low, high] = [Math.min(0, ...scores), Math.max(1, ...scores)];
  const rows = ranked.map(({ score, place, text }) =>
    h(
      "li",
      {},
      h("p", {}, h("span", { class: "score" }, score.toFixed(3)), " ", text, " ", h("span", { class: "caption" }, `document ${place}`)),
      bar((score - low) / (high - low), { "aria-hidden": "true" }),
    ),
  );
  return h("ol", { class: "ranking", "aria-label": "Documents, the best first" }, rows);
}
