// The Vercel AI SDK with its OpenAI provider.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText } from 'ai';
import { assertCallError, specify } from './ai_sdk.mjs';
import { API_KEY, BASE_URL, LIMIT, MODEL, PROMPT } from './shared.mjs';

const oneCall = { openai: { parallelToolCalls: false } };
const openai = (apiKey) => createOpenAI({ baseURL: BASE_URL, apiKey });

specify('@ai-sdk/openai: POST /v1/responses', {
  languageModel: (apiKey, id) => openai(apiKey)(id),
  oneCall,
  stateless: { openai: { store: false } },
});

specify('@ai-sdk/openai: POST /v1/chat/completions', {
  languageModel: (apiKey, id) => openai(apiKey).chat(id),
  oneCall,
});

it('@ai-sdk/openai: POST /v1/responses refuses a reference to an earlier answer, for nothing is stored', async () => {
  const model = openai(API_KEY)(MODEL);
  const first = await generateText({ model, prompt: PROMPT, maxOutputTokens: LIMIT, temperature: 0, maxRetries: 0 });
  // Without `store: false`, the provider sends no answer back but its id.
  const second = generateText({
    model, prompt: [...first.response.messages, { role: 'user', content: PROMPT }], maxRetries: 0,
  });
  await assert.rejects(second, (error) => {
    assertCallError(error, 400, 'unsupported_parameter');
    assert.match(error.data.error.param, /^input\.0/);
    return true;
  });
});
