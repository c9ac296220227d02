// A recording to text, in its own language or in English, with its segments on the waveform.

import { Failure } from "./api.js";
import { modelChoice } from "./directory.js";
import { h } from "./element.js";
import { field, given } from "./field.js";
import { failureNotice } from "./notice.js";
import { clock } from "./numbers.js";
import { recorder } from "./recorder.js";
import { task } from "./task.js";
import { Waveform } from "./waveform.js";
import { Ways } from "./ways.js";

export const WAYS = [
  { path: "/v1/audio/transcriptions", ability: "transcriptions", name: "As it is spoken", times: { "timestamp_granularities[]": ["segment"] } },
  { path: "/v1/audio/translations", ability: "translations", name: "Translated into English", times: {} },
];

export function transcriptions() {
  const player = h("audio", { controls: true, hidden: true, "aria-label": "The recording" });
  const wave = new Waveform((second) => {
    player.currentTime = second;
    player.play();
  });
  wave.element.hidden = true;
  const problem = h("div");
  const input = h("input", { type: "file", name: "file", accept: "audio/*,video/webm,video/mp4", onchange: () => input.files[0] && use(input.files[0]) });
  const ways = new Ways("Write down what is said", WAYS);
  const model = modelChoice("transcriptions", (chosen) => ways.use(chosen));
  const language = h("input", { name: "language", placeholder: "found by itself, or such as en" });
  const prompt = h("input", { name: "prompt", placeholder: "names and words to expect" });
  const record = recorder(use, (error) => problem.replaceChildren(failureNotice(new Failure(`There is no microphone: ${error.message}`))));
  let file = null;

  async function use(chosen) {
    problem.replaceChildren();
    file = chosen;
    player.src = URL.createObjectURL(file);
    player.hidden = wave.element.hidden = false;
    await wave.load(file);
  }

  return task({
    name: "Write down",
    inputs: [ways.element, field("Audio file", input), h("div", { class: "buttons" }, record), problem, wave.element, player],
    settings: [field("Model", model.element), field("Language", language), field("Prompt", prompt)],
    request() {
      if (!file) throw new Failure("There is no recording yet. Choose a file, or record one.");
      const { path, times } = ways.chosen();
      const body = { model: model.chosen().id, response_format: "verbose_json", ...times };
      return { path, body: { ...body, ...given({ language, prompt }) }, files: { file } };
    },
    async show(response, result, facts) {
      const answer = await response.json();
      wave.show(answer.segments ?? [], answer.duration);
      result.append(h("p", { class: "text" }, answer.text || "(nothing was understood)"));
      const rows = (answer.segments ?? []).map((one) => h("li", {}, h("time", {}, `${clock(one.start)} to ${clock(one.end)}`), h("span", {}, one.text)));
      if (rows.length > 1) result.append(h("ol", { class: "segments", "aria-label": "Segments" }, rows));
      facts.set("Language", answer.language);
      facts.set("Usage", `${answer.usage?.seconds ?? Math.ceil(answer.duration)} s of audio`);
      facts.end();
    },
  });
}
