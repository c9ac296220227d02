// Says what went wrong.

import { h } from "./element.js";

/** The failure of a request, for a person. */
export function failureNotice(error) {
  const details = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean).join(" · ");
  return h("div", { class: "notice bad", role: "alert" }, h("p", {}, error.message), details && h("p", {}, h("code", {}, details)));
}
