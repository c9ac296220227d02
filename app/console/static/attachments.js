// Images that go with what a person says.

import { h } from "./element.js";

export class Attachments {
  constructor() {
    this.urls = [];
    const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif", multiple: true, class: "unseen", tabindex: "-1", "aria-hidden": "true" });
    file.addEventListener("change", async () => {
      for (const one of file.files) await this.add(one);
      file.value = "";
    });
    this.button = h("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Attach image");
    this.list = h("div", { class: "attached" });
    this.file = file;
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
