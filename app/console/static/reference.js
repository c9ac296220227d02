// The reference: Swagger UI over the service's own description, with the key of this tab.

import { readKey } from "./session.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const reference = globalThis.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // else a picture from elsewhere
  persistAuthorization: false,
  onComplete() {
    const key = readKey();
    if (key) reference.preauthorizeApiKey("key", key);
  },
});
