// Chat completions as a conversation sees them.

import { Failure } from "./api.js";

export const path = "/v1/chat/completions";

/** The request for the next turn. */
export function request({ model, system, turns, tools, schema, numbers }) {
  const { max_output_tokens: max_tokens, ...rest } = numbers;
  return {
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...turns.flatMap(messages)],
    stream: true,
    stream_options: { include_usage: true },
    ...rest,
    ...(max_tokens === undefined ? {} : { max_tokens }),
    ...(tools ? { tools: tools.map((one) => ({ type: "function", function: one })) } : {}),
    ...(schema ? { response_format: { type: "json_schema", json_schema: { name: "answer", schema } } } : {}),
  };
}

/** How a conversation's tokens are counted before it is sent. */
export const counting = {
  path: "/v1/tokenize",
  ability: "tokenize",
  request(settings) {
    const { model, messages, tools } = request(settings);
    return { model, messages, tools };
  },
  tokens: (answer) => answer.count,
};

function messages(turn) {
  if (turn.role === "user") return [{ role: "user", content: content(turn) }];
  const calls = turn.calls.map((one) => ({
    id: one.id,
    type: "function",
    function: { name: one.name, arguments: one.arguments },
  }));
  const said = { role: "assistant", content: turn.text || null, ...(calls.length ? { tool_calls: calls } : {}) };
  const results = turn.calls.filter((one) => one.result !== undefined);
  return [said, ...results.map((one) => ({ role: "tool", tool_call_id: one.id, content: one.result }))];
}

function content({ text, images }) {
  if (!images.length) return text;
  return [{ type: "text", text }, ...images.map((url) => ({ type: "image_url", image_url: { url } }))];
}

/** What comes: {text}, {reasoning}, {call: index, id, name, arguments}, {tokens}, {cut}. */
export async function* pieces(events) {
  let finished = false;
  for await (const { choices, usage } of events) {
    const [choice] = choices ?? [];
    const delta = choice?.delta ?? {};
    if (delta.reasoning) yield { reasoning: delta.reasoning };
    if (delta.content) yield { text: delta.content };
    for (const { index, id, function: named } of delta.tool_calls ?? []) {
      yield { call: index, id, name: named?.name, arguments: named?.arguments ?? "" };
    }
    finished ||= Boolean(choice?.finish_reason);
    if (choice?.finish_reason === "length") yield { cut: true };
    if (usage) yield { tokens: usage.completion_tokens };
  }
  if (!finished) throw new Failure("The answer was cut off.");
}
