// Text to speech, with a player.

import { modelChoice } from "./directory.js";
import { h } from "./element.js";
import { area, choice, field, given, number, pair } from "./field.js";
import { count } from "./numbers.js";
import { task } from "./task.js";

export const path = "/v1/audio/speech";

export function speech() {
  const input = area({ rows: 4, name: "text", required: true, value: "A portico is a porch that leads to the entrance of a building." });
  const voice = h("select", { name: "voice" });
  const model = modelChoice("speech", (chosen) => {
    const [before, voices] = [voice.value, chosen?.profile?.voices ?? []];
    voice.replaceChildren(...voices.map((one) => h("option", { value: one }, one)));
    voice.value = voices.includes(before) ? before : (voices[0] ?? "");
  });
  const format = choice(["mp3", "wav", "opus", "flac", "aac"]);
  const speed = number({ min: 0.25, max: 4 });
  return task({
    name: "Speak",
    inputs: [field("Text", input)],
    settings: [field("Model", model.element), field("Voice", voice), pair(field("Format", format), field("Speed", speed))],
    request() {
      const body = { model: model.chosen()?.id, input: input.value, response_format: format.value };
      return { path, body: { ...body, ...given({ voice, speed }) } };
    },
    async show(response, result, facts) {
      const pieces = [];
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        facts.piece("First audio");
        pieces.push(value);
      }
      const url = URL.createObjectURL(new Blob(pieces, { type: response.headers.get("content-type") }));
      result.append(h("audio", { controls: true, src: url, "aria-label": "The spoken text" }));
      result.append(h("p", { class: "caption" }, h("a", { href: url, download: `speech.${format.value}` }, "Download")));
      facts.set("Usage", `${count(response.headers.get("x-usage-characters"))} characters`);
      facts.end();
    },
  });
}
