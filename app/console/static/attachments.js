// Images that go with what a person says.

import { h } from "./element.js";
import { imagePicker } from "./image_files.js";

export class Attachments {
  constructor() {
    this.urls = [];
    const { button, input } = imagePicker("Attach image", (file) => this.add(file), { multiple: true });
    Object.assign(this, { button, file: input });
    this.list = h("div", { class: "attached" });
  }

  async add(file) {
    this.urls.push(await dataUrl(file));
    this.#show();
  }

  /** The images; there are none then. */
  take() {
    const taken = this.urls;
    this.urls = [];
    this.#show();
    return taken;
  }

  #show() {
    const pictures = this.urls.map((url, place) =>
      h(
        "button",
        { type: "button", title: "Remove", "aria-label": `Remove image ${place + 1}`, onclick: () => this.#remove(place) },
        h("img", { src: url, alt: "" }),
      ),
    );
    this.list.replaceChildren(...pictures);
  }

  #remove(place) {
    this.urls.splice(place, 1);
    this.#show();
    this.button.focus();
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
