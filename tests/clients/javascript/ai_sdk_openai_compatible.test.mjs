// The Vercel AI SDK with its provider for servers that are like OpenAI's.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { specify } from './ai_sdk.mjs';
import { BASE_URL } from './shared.mjs';

specify('@ai-sdk/openai-compatible: POST /v1/chat/completions', {
  languageModel: (apiKey, id) =>
    createOpenAICompatible({
      name: 'portico',
      baseURL: BASE_URL,
      apiKey,
      // This provider sends a schema, and requests a stream's usage, only if the server is declared to support them.
      supportsStructuredOutputs: true,
      includeUsage: true,
    })(id),
  oneCall: { portico: { parallel_tool_calls: false } },
});
