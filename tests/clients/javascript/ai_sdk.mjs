// What the Vercel AI SDK must get from every provider: one specification, whatever route the provider takes.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  APICallError, NoObjectGeneratedError, Output, generateObject, generateText, stepCountIs, streamObject, streamText,
  tool,
} from 'ai';
import {
  API_KEY, AMPLE, LIMIT, MODEL, PROMPT, SCANT, TOOL, UNKNOWN_MODEL, WRONG_KEY, Weather,
  assertFits, assertUsage, collect, kindsOf,
} from './shared.mjs';

/**
 * `languageModel` makes a model of an API key and an id; `oneCall` are the provider's options for at most one call at a
 * time, `stateless` those that make it send each turn in full.
 */
export function specify(provider, { languageModel, oneCall, stateless = {} }) {
  const model = languageModel(API_KEY, MODEL);
  // A retry would hide a failure. At temperature 0 pocket-chat always goes on up to its limit.
  const request = { model, prompt: PROMPT, maxOutputTokens: LIMIT, temperature: 0, maxRetries: 0 };
  const askObject = { model, prompt: PROMPT, maxOutputTokens: AMPLE, maxRetries: 0 };
  const tools = {
    [TOOL.name]: tool({ description: TOOL.description, inputSchema: TOOL.parameters, execute: () => TOOL.result }),
  };
  // First a call that is forced, then an answer.
  const askWithTool = (toolChoice) => ({
    model, tools, prompt: PROMPT, maxRetries: 0, stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) =>
      stepNumber === 0
        ? { toolChoice, maxOutputTokens: AMPLE }
        : { toolChoice: 'none', maxOutputTokens: LIMIT, temperature: 0 },
  });

  describe(provider, () => {
    it('generateText: text, a finish reason and usage, without warnings', async () => {
      const { text, finishReason, usage, warnings, response } = await generateText({ ...request, system: 'Only numbers.' });
      assert.ok(text);
      assert.equal(finishReason, 'length');
      assertSdkUsage(usage, LIMIT);
      assert.deepEqual(warnings, []);
      assert.equal(response.modelId, MODEL);
    });

    it('generateText: a second turn sees the first', async () => {
      const first = await generateText(request);
      const question = { role: 'user', content: PROMPT };
      const second = await generateText({
        ...request, prompt: [question, ...first.response.messages, question], providerOptions: stateless,
      });
      // The question once more, and the whole answer.
      assert.ok(second.usage.inputTokens >= first.usage.inputTokens + LIMIT);
    });

    it('streamText: the parts in their order, and usage', async () => {
      const stream = streamText(request);
      const parts = await collect(stream.fullStream);
      assert.deepEqual(kindsOf(parts), [
        'start', 'start-step', 'text-start', 'text-delta', 'text-end', 'finish-step', 'finish',
      ]);
      const deltas = parts.filter(({ type }) => type === 'text-delta').map(({ text }) => text);
      assert.ok(deltas.length > 1);
      assert.equal(deltas.join(''), await stream.text);
      assert.equal(await stream.finishReason, 'length');
      assertSdkUsage(await stream.usage, LIMIT);
      assert.deepEqual(await stream.warnings, []);
    });

    it('generateText: calls a tool when it must, takes the result and answers', async () => {
      const { steps, text } = await generateText({ ...askWithTool('required'), providerOptions: oneCall });
      assertRoundTrip(steps);
      assert.equal(steps[0].finishReason, 'tool-calls');
      assert.ok(text);
    });

    it('streamText: calls the named tool, takes the result and answers', async () => {
      const stream = streamText(askWithTool({ type: 'tool', toolName: TOOL.name }));
      const parts = await collect(stream.fullStream);
      assert.deepEqual(kindsOf(parts.filter(({ type }) => type.startsWith('tool-'))), [
        'tool-input-start', 'tool-input-delta', 'tool-input-end', 'tool-call', 'tool-result',
      ]);
      assertRoundTrip(await stream.steps);
      assert.ok(await stream.text);
    });

    it('generateObject: an object that fits its schema', async () => {
      const { object, finishReason, warnings } = await generateObject({ ...askObject, schema: Weather });
      assertFits(Weather, object);
      assert.equal(finishReason, 'stop');
      assert.deepEqual(warnings, []);
    });

    it('generateObject: one that was cut off is an error with its finish reason and usage', async () => {
      const cut = generateObject({ ...askObject, schema: Weather, maxOutputTokens: SCANT });
      await assert.rejects(cut, (error) => {
        assert.ok(NoObjectGeneratedError.isInstance(error));
        assert.equal(error.finishReason, 'length');
        assertSdkUsage(error.usage, SCANT);
        return true;
      });
    });

    it('streamObject: it grows until it fits its schema', async () => {
      const stream = streamObject({ ...askObject, schema: Weather });
      const partials = await collect(stream.partialObjectStream);
      assert.ok(partials.length > 1);
      assert.deepEqual(partials.at(-1), await stream.object);
      assertFits(Weather, await stream.object);
    });

    it('generateText: an output that fits its schema', async () => {
      const { output } = await generateText({ ...askObject, output: Output.object({ schema: Weather }) });
      assertFits(Weather, output);
    });

    const FAILURES = [
      ['an unknown model', languageModel(API_KEY, UNKNOWN_MODEL), 404, 'model_not_found'],
      ['a wrong key', languageModel(WRONG_KEY, MODEL), 401, 'invalid_api_key'],
    ];
    for (const [name, failing, status, code] of FAILURES) {
      it(`generateText: ${name} is an APICallError`, async () => {
        await assert.rejects(generateText({ ...request, model: failing }), (error) => {
          assertCallError(error, status, code);
          return true;
        });
      });

      it(`streamText: ${name} is an APICallError`, async () => {
        // Without a handler the SDK prints the error.
        const parts = await collect(streamText({ ...request, model: failing, onError: () => {} }).fullStream);
        assertCallError(parts.find(({ type }) => type === 'error').error, status, code);
      });
    }
  });
}

export function assertCallError(error, status, code) {
  assert.ok(APICallError.isInstance(error));
  assert.deepEqual([error.statusCode, error.data.error.code, error.isRetryable], [status, code, false]);
}

function assertRoundTrip([first, second, ...others]) {
  assert.deepEqual(others, []);
  const [call, ...more] = first.toolCalls;
  assert.deepEqual([call.toolName, more], [TOOL.name, []]);
  assertFits(TOOL.parameters, call.input);
  assert.deepEqual(first.toolResults.map(({ output }) => output), [TOOL.result]);
  assert.deepEqual(second.toolCalls, []);
  assert.ok(second.usage.inputTokens > first.usage.inputTokens);
}

function assertSdkUsage({ inputTokens, outputTokens, totalTokens }, expected) {
  assertUsage({ input: inputTokens, output: outputTokens, total: totalTokens }, expected);
}
