// A mask over an image: what is painted here is transparent in its file, and is what the model draws anew.

import { Failure } from "./api.js";
import { announce, h } from "./element.js";
import { field } from "./field.js";
import { imagePicker } from "./image_files.js";

const HINT = "Paint over what is to be drawn anew; nothing painted: all of it. With keys: arrows move the brush, Space paints, Shift and arrows draw.";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Mask {
  /** `onfail` gets the Failure of a file that is no mask. */
  constructor(onfail) {
    this.isPainted = false;
    this.at = [0, 0]; // the brush, in pixels of the image
    this.canvas = h("canvas", { tabindex: "0", role: "application", "aria-label": "Mask", "aria-describedby": "mask-hint", onkeydown: (event) => this.#key(event) });
    this.canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    this.canvas.addEventListener("pointermove", (event) => event.buttons && this.#draw(this.#place(event)));
    this.brush = h("div", { class: "brush" });
    this.surface = h("div", { class: "mask" }, this.canvas, this.brush);
    this.width = h("input", { type: "range", min: 2, max: 50, value: "12", oninput: () => this.#showBrush() });
    const pick = imagePicker("Take a mask from a file", (file) => this.#pick(file).catch(onfail));
    const clear = h("button", { type: "button", class: "quiet", onclick: () => this.#clear() }, "Clear mask");
    const save = h("button", { type: "button", class: "quiet", onclick: () => this.#save() }, "Save mask");
    this.tools = h(
      "div",
      { class: "mask-tools" },
      h("p", { class: "caption", id: "mask-hint" }, HINT),
      h("div", { class: "buttons" }, field("Brush", this.width), pick.button, save, clear),
      pick.input,
    );
  }

  /** Begin with an empty one of those sides, in pixels. */
  resize(width, height) {
    Object.assign(this.canvas, { width, height });
    this.at = [width / 2, height / 2];
    this.#clear();
    this.#showBrush();
  }

  /** The mask as a PNG; null where nothing is painted. */
  async file() {
    if (!this.isPainted) return null;
    const whole = h("canvas", { width: this.canvas.width, height: this.canvas.height });
    subtract(whole, this.canvas);
    const content = await new Promise((resolve) => whole.toBlob(resolve, "image/png"));
    return new File([content], "mask.png", { type: "image/png" });
  }

  /** Paint what is transparent in a file. */
  async #pick(file) {
    const given = await createImageBitmap(file).catch(() => null);
    if (!given) throw new Failure(`${file.name}: this browser cannot read it as an image.`);
    this.#clear();
    subtract(this.canvas, given, getComputedStyle(this.canvas).color);
    const { data } = this.#pen.getImageData(0, 0, this.canvas.width, this.canvas.height);
    this.isPainted = data.some((value, place) => place % 4 === 3 && value > 0);
    if (!this.isPainted) throw new Failure(`${file.name}: it has no transparent pixels, which are what is drawn anew.`);
  }

  /** Hand it out as a file, which the programs of its answers name. */
  async #save() {
    const file = await this.file();
    if (!file) return announce("Nothing is painted yet.");
    return h("a", { href: URL.createObjectURL(file), download: file.name }).click();
  }

  #clear() {
    this.#pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.isPainted = false;
  }

  #begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.at = this.#place(event);
    this.#draw(this.at);
  }

  #place({ offsetX, offsetY }) {
    const scale = this.canvas.width / this.canvas.clientWidth;
    return [offsetX * scale, offsetY * scale];
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== " ") return;
    event.preventDefault();
    const [right, down] = arrow ?? [0, 0];
    const step = this.#brushWidth / 2;
    const to = [within(this.at[0] + right * step, this.canvas.width), within(this.at[1] + down * step, this.canvas.height)];
    if (!arrow || event.shiftKey) this.#draw(to);
    this.at = to;
    this.#showBrush();
  }

  /** A stroke from the brush to another place, where the brush is then. */
  #draw(to) {
    const pen = this.#pen;
    Object.assign(pen, { lineWidth: this.#brushWidth, lineCap: "round", strokeStyle: getComputedStyle(this.canvas).color });
    pen.beginPath();
    pen.moveTo(...this.at);
    pen.lineTo(to[0] + 0.01, to[1]); // a stroke of no length would be no dot
    pen.stroke();
    this.at = to;
    this.isPainted = true;
    this.#showBrush();
  }

  #showBrush() {
    const { width, height } = this.canvas;
    const [x, y] = this.at;
    Object.assign(this.brush.style, { left: `${(x / width) * 100}%`, top: `${(y / height) * 100}%`, width: `${(this.#brushWidth / width) * 100}%` });
  }

  get #brushWidth() {
    return (Number(this.width.value) / 100) * Math.min(this.canvas.width, this.canvas.height);
  }

  get #pen() {
    return this.canvas.getContext("2d");
  }
}

/** Fill a canvas with a colour where an image, stretched over it, is transparent. */
function subtract(canvas, image, colour = "black") {
  const pen = canvas.getContext("2d");
  pen.save();
  pen.fillStyle = colour;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.globalCompositeOperation = "destination-out";
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  pen.restore();
}

const within = (value, most) => Math.min(most, Math.max(0, value));
