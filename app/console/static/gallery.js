// Images of an answer: one with its partial images as they come, or several at once.

import { h } from "./element.js";
import { events } from "./events.js";
import { count } from "./numbers.js";

/** Show the image of a stream, which gets `caption` as its name too. */
export async function showStream(response, result, facts, caption) {
  const picture = h("img", { class: "picture", alt: caption });
  const film = h("div", { class: "film" });
  result.append(h("div", { class: "gallery" }, h("figure", {}, picture, film, h("figcaption", {}, caption))));
  for await (const event of events(response)) {
    facts.piece("First image");
    picture.src = dataUrl(event);
    if (event.type.endsWith(".partial_image")) {
      film.append(h("img", { src: picture.src, alt: `Partial image ${event.partial_image_index + 1}` }));
    } else setUsage(facts, event);
  }
  facts.end();
}

/** Show the images of an answer that comes whole, each with its number. */
export async function showWhole(response, result, facts, caption) {
  const answer = await response.json();
  const figures = answer.data.map((one, place) => {
    const name = `${caption} ${place + 1}`;
    const picture = h("img", { class: "picture", alt: name, src: dataUrl({ ...answer, ...one }) });
    return h("figure", {}, picture, h("figcaption", {}, name));
  });
  result.append(h("div", { class: "gallery" }, figures));
  setUsage(facts, answer);
  facts.end();
}

const dataUrl = ({ output_format: format, b64_json: content }) => `data:image/${format ?? "png"};base64,${content}`;

function setUsage(facts, { usage }) {
  if (usage) facts.set("Usage", `${count(usage.total_tokens)} tokens`);
}
