// Responses as a conversation sees them. The service keeps nothing, so each request has all turns.

import { Failure } from "./api.js";

export const path = "/v1/responses";

/** The request for the next turn. */
export function request({ model, system, turns, tools, schema, numbers }) {
  return {
    model,
    ...(system ? { instructions: system } : {}),
    input: turns.flatMap(items),
    stream: true,
    ...numbers,
    ...(tools ? { tools: tools.map((one) => ({ type: "function", ...one })) } : {}),
    ...(schema ? { text: { format: { type: "json_schema", name: "answer", schema } } } : {}),
  };
}

/** How a conversation's tokens are counted before it is sent. */
export const counting = {
  path: "/v1/responses/input_tokens",
  ability: "chat",
  request(settings) {
    const { stream, ...counted } = request(settings);
    return counted;
  },
  tokens: (answer) => answer.input_tokens,
};

function items(turn) {
  if (turn.role === "user") return [{ role: "user", content: content(turn) }];
  return [
    ...(turn.text ? [{ role: "assistant", content: turn.text }] : []),
    ...turn.calls.map((one) => ({ type: "function_call", call_id: one.id, name: one.name, arguments: one.arguments })),
    ...turn.calls
      .filter((one) => one.result !== undefined)
      .map((one) => ({ type: "function_call_output", call_id: one.id, output: one.result })),
  ];
}

function content({ text, images }) {
  if (!images.length) return text;
  const urls = images.map((url) => ({ type: "input_image", image_url: url, detail: "auto" }));
  return [{ type: "input_text", text }, ...urls];
}

/** What comes, as `pieces` of chat. */
export async function* pieces(events) {
  let finished = false;
  for await (const event of events) {
    const { type, response } = event;
    if (type === "response.output_text.delta") yield { text: event.delta };
    else if (type === "response.reasoning_text.delta") yield { reasoning: event.delta };
    else if (type === "response.function_call_arguments.delta") yield { call: event.output_index, arguments: event.delta };
    else if (type === "response.output_item.added" && event.item.type === "function_call") {
      yield { call: event.output_index, id: event.item.call_id, name: event.item.name, arguments: "" };
    } else if (type === "response.failed") throw new Failure(response.error?.message ?? "The answer failed.");
    else if (type === "response.completed" || type === "response.incomplete") {
      finished = true;
      if (response.incomplete_details?.reason === "max_output_tokens") yield { cut: true };
      yield { tokens: response.usage?.output_tokens };
    }
  }
  if (!finished) throw new Failure("The answer was cut off.");
}
