// Image files from a person: picked, dropped, pasted.

import { h } from "./element.js";

const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** A button with that name, and the input that it opens; each file that is picked goes to `onfile`. */
export function imagePicker(name, onfile, { multiple = false, look = "quiet" } = {}) {
  const input = h("input", { type: "file", accept: KINDS.join(), multiple, class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  input.addEventListener("change", async () => {
    for (const one of input.files) await onfile(one);
    input.value = "";
  });
  return { button: h("button", { type: "button", class: look, onclick: () => input.click() }, name), input };
}

/** Let what is dropped on an element, or pasted into it, go to `onfile`, where it is an image and `isWanted()`. */
export function receiveImages(element, onfile, isWanted = () => true) {
  const take = async (event, { files }) => {
    const images = [...files].filter((one) => KINDS.includes(one.type));
    if (!images.length || !isWanted()) return;
    event.preventDefault();
    for (const one of images) await onfile(one);
  };
  element.addEventListener("dragover", (event) => isWanted() && event.preventDefault());
  element.addEventListener("drop", (event) => take(event, event.dataTransfer));
  element.addEventListener("paste", (event) => take(event, event.clipboardData));
}
