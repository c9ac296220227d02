// The image that another is made of, and the mask over it.

import { Failure } from "./api.js";
import { h } from "./element.js";
import { imagePicker, receiveImages } from "./image_files.js";
import { Mask } from "./mask.js";
import { failureNotice } from "./notice.js";

export class InputImage {
  constructor() {
    this.file = null;
    this.mask = new Mask((error) => this.#fail(error));
    const pick = imagePicker("Choose an image", (file) => this.use(file), { look: null });
    this.problem = h("div");
    this.picture = h("img", { alt: "The image to begin with" });
    this.name = h("span", { class: "caption" });
    this.remove = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.#remove() }, "Remove image");
    this.easel = h("div", { class: "easel", hidden: true }, this.picture, this.mask.surface);
    this.hint = h("p", { class: "caption" }, "Or drop one here, or paste it.");
    this.choose = pick.button;
    this.element = h(
      "div",
      { class: "input-image", role: "group", "aria-label": "Image" },
      h("div", { class: "buttons" }, pick.button, this.remove, this.name),
      pick.input,
      this.hint,
      this.problem,
      this.easel,
      this.mask.tools,
    );
    receiveImages(this.element, (file) => this.use(file));
    this.#showTools();
  }

  /** Take a file in place of the one before. */
  async use(file) {
    this.#reset();
    this.picture.src = URL.createObjectURL(file);
    try {
      await this.picture.decode();
    } catch {
      this.#fail(new Failure(`${file.name}: this browser cannot show it. Choose a PNG, JPEG, WebP or GIF.`));
      return;
    }
    this.file = file;
    const { naturalWidth: width, naturalHeight: height } = this.picture;
    this.mask.resize(width, height);
    this.name.textContent = `${file.name}, ${width}x${height}`;
    this.easel.hidden = this.remove.hidden = false;
    this.hint.hidden = true;
    this.#showTools();
  }

  /** Whether a mask can go with it. */
  offerMask(isOffered) {
    this.isMaskOffered = isOffered;
    this.#showTools();
  }

  /** The files that a request has: the image, and the mask where there is one. Throws Failure without an image. */
  async files() {
    if (!this.file) throw new Failure("There is no image yet. Choose one, drop it, or paste it.");
    const mask = this.isMaskOffered ? await this.mask.file() : null;
    return { image: this.file, ...(mask ? { mask } : {}) };
  }

  #remove() {
    this.#reset();
    this.choose.focus();
  }

  #reset() {
    if (this.picture.src) URL.revokeObjectURL(this.picture.src);
    this.picture.removeAttribute("src");
    this.problem.replaceChildren();
    this.file = null;
    this.name.textContent = "";
    this.easel.hidden = this.remove.hidden = true;
    this.hint.hidden = false;
    this.#showTools();
  }

  #showTools() {
    this.mask.surface.hidden = this.mask.tools.hidden = !this.isMaskOffered || !this.file;
  }

  #fail(error) {
    this.problem.replaceChildren(failureNotice(error));
  }
}
