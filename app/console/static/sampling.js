// How a text is sampled, and how long it may become.

import { field, more, number, pair } from "./field.js";

/** The numbers by name, those that are empty too, and their fields. */
export function sampling() {
  const numbers = {
    temperature: number({ min: 0, max: 2 }),
    top_p: number({ min: 0, max: 1 }),
    max_output_tokens: number({ min: 1 }),
  };
  const { temperature, top_p, max_output_tokens } = numbers;
  const element = more("Sampling", pair(field("Temperature", temperature), field("Top p", top_p)), field("Longest answer, in tokens", max_output_tokens));
  return { numbers, element };
}
