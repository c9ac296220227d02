// Server-sent events of a response.

import { Failure } from "./api.js";

/** The data of each event, parsed; `[DONE]` ends it. Throws Failure where the stream says that it failed. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const requestId = response.headers.get("x-request-id");
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value.replaceAll("\r", "")).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = dataOf(part);
      if (data === null) continue;
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error?.message) throw new Failure(event.error.message, { code: event.error.code, requestId });
      yield event;
    }
  }
}

/** The data of one event; null for a comment, such as a ping. */
function dataOf(event) {
  const lines = event.split("\n").filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.slice(5).trimStart()).join("\n") : null;
}
