// What all tests share: where the service is, and what is sent to it.

import assert from 'node:assert/strict';
import { z } from 'zod';

// Without these two the clients would go to OpenAI itself.
export const BASE_URL = setting('OPENAI_BASE_URL');
export const API_KEY = setting('OPENAI_API_KEY');
export const MODEL = process.env.PORTICO_MODEL ?? 'pocket-chat';
export const UNKNOWN_MODEL = 'gpt-4o';
export const WRONG_KEY = `sk-portico-${'a'.repeat(12)}-${'b'.repeat(43)}`;

// An answer to this is longer than LIMIT, whatever the model.
export const PROMPT = 'Count from 1 to 100.';
export const LIMIT = 32;
// Enough for an object or a call, even if the model puts much white space into it.
export const AMPLE = 500;
// Too few tokens for any object that fits `Weather`.
export const SCANT = 4;

// No free text and no endless array: a model with random weights comes to an end as well.
export const Weather = z.object({
  sky: z.enum(['clear', 'grey']),
  degrees: z.int().min(-9).max(40),
  windy: z.boolean(),
  days: z.array(z.enum(['Monday', 'Tuesday'])).max(2),
});

export const TOOL = {
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.enum(['Oslo', 'Paris']), celsius: z.boolean() }),
  result: { sky: 'grey', degrees: 7 },
};

export function assertUsage({ input, output, total }, expected) {
  assert.ok(input > 0, `${input} input tokens`);
  assert.equal(output, expected);
  assert.equal(total, input + output);
}

export function assertFits(schema, value) {
  assert.deepEqual(schema.parse(value), value);
}

// The kinds of a stream's events in their order, each run of the same kind listed once.
export function kindsOf(events) {
  return events.map(({ type }) => type).filter((type, index, types) => type !== types[index - 1]);
}

export async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

function setting(name) {
  assert.ok(process.env[name], `${name} is not set`);
  return process.env[name];
}
