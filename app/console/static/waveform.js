// A recording as its waveform, with the segments of its transcript on it.

import { h } from "./element.js";
import { clock } from "./numbers.js";

const BARS = 300;

export class Waveform {
  /** `onseek` is called with the second at which a segment begins. */
  constructor(onseek) {
    this.onseek = onseek;
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.segments = h("div");
    this.element = h("div", { class: "wave", role: "group", "aria-label": "Waveform" }, this.canvas, this.segments);
    this.peaks = [];
    new ResizeObserver(() => this.#draw()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Decode a file and draw it. What the browser cannot decode stays without a waveform. */
  async load(file) {
    this.show([], 1);
    try {
      const context = new OfflineAudioContext(1, 1, 16000);
      this.peaks = peaksOf((await context.decodeAudioData(await file.arrayBuffer())).getChannelData(0));
    } catch {
      this.peaks = [];
    }
    this.#draw();
  }

  /** The segments of a recording of that many seconds. */
  show(segments, seconds) {
    this.segments.replaceChildren(
      ...segments.map((one) => {
        const label = `${clock(one.start)} ${one.text.trim()}`;
        const button = h("button", { type: "button", title: label, "aria-label": `Play from ${label}`, onclick: () => this.onseek(one.start) }, h("span", {}, clock(one.start)));
        button.style.left = `${(one.start / seconds) * 100}%`;
        button.style.width = `${(Math.max(0, one.end - one.start) / seconds) * 100}%`;
        return button;
      }),
    );
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const scale = devicePixelRatio;
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = getComputedStyle(this.element).getPropertyValue("color");
    pen.globalAlpha = 0.55;
    const step = width / (this.peaks.length || 1);
    this.peaks.forEach((peak, place) => {
      const tall = Math.max(1, peak * height * 0.8);
      pen.fillRect(place * step, (height - tall) / 2, Math.max(1, step - 1), tall);
    });
  }
}

/** The loudest sample of each part, of the loudest of all. */
function peaksOf(samples) {
  const length = Math.ceil(samples.length / BARS);
  const peaks = [];
  for (let start = 0; start < samples.length; start += length) {
    let peak = 0;
    for (let at = start; at < Math.min(start + length, samples.length); at++) peak = Math.max(peak, Math.abs(samples[at]));
    peaks.push(peak);
  }
  const loudest = Math.max(...peaks, 0.01);
  return peaks.map((peak) => peak / loudest);
}
