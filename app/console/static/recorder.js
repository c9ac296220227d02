// A recording from the microphone.

import { h } from "./element.js";
import { clock } from "./numbers.js";

/** A button that records; `ondone` gets a file, `onfail` an error. */
export function recorder(ondone, onfail) {
  const button = h("button", { type: "button" }, "Record");
  const isPossible = Boolean(navigator.mediaDevices && globalThis.MediaRecorder);
  button.disabled = !isPossible;
  if (!isPossible) button.title = "Browsers allow the microphone on https and on localhost only.";
  let running = null;
  button.addEventListener("click", async () => {
    if (running) return running.stop();
    try {
      running = await record(button, ondone, () => (running = null));
    } catch (error) {
      onfail(error);
    }
    return undefined;
  });
  return button;
}

async function record(button, ondone, onend) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const recording = new MediaRecorder(stream);
  const pieces = [];
  const began = performance.now();
  const show = () => (button.textContent = `Stop ${clock((performance.now() - began) / 1000)}`);
  const timer = setInterval(show, 500);
  show();
  recording.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  recording.addEventListener("stop", () => {
    clearInterval(timer);
    for (const track of stream.getTracks()) track.stop();
    button.textContent = "Record";
    const kind = recording.mimeType.includes("mp4") ? "m4a" : "webm";
    onend();
    ondone(new File(pieces, `recording.${kind}`, { type: recording.mimeType }));
  });
  recording.start();
  return recording;
}
