// The openai package. It reads OPENAI_BASE_URL and OPENAI_API_KEY itself.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import OpenAI, { AuthenticationError, NotFoundError } from 'openai';
import { LengthFinishReasonError } from 'openai/error';
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import {
  AMPLE, LIMIT, MODEL, PROMPT, SCANT, TOOL, UNKNOWN_MODEL, WRONG_KEY, Weather,
  assertFits, assertUsage, collect, kindsOf,
} from './shared.mjs';

// A retry would hide a failure.
const client = new OpenAI({ maxRetries: 0 });
const MESSAGES = [{ role: 'user', content: PROMPT }];
// The token that ends pocket-chat's turn, never chosen.
const NO_END = { 3: -100 };

describe('openai: GET /v1/models', () => {
  it('lists the model', async () => {
    const models = await collect(client.models.list());
    assert.ok(models.some(({ id, object }) => id === MODEL && object === 'model'));
  });

  it('retrieves one model', async () => {
    assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
  });
});

describe('openai: POST /v1/chat/completions', () => {
  const request = { model: MODEL, messages: MESSAGES, max_tokens: LIMIT, logit_bias: NO_END };
  const askObject = { model: MODEL, messages: MESSAGES, response_format: zodResponseFormat(Weather, 'weather') };
  const tools = [zodFunction({ ...TOOL, function: () => TOOL.result })];
  const askCall = {
    model: MODEL, messages: MESSAGES, max_tokens: AMPLE, tools, tool_choice: 'required', parallel_tool_calls: false,
  };

  it('answers with text, a finish reason, usage and a request id', async () => {
    const answer = await client.chat.completions.create(request);
    const [{ message, finish_reason }, ...others] = answer.choices;
    assert.deepEqual([answer.object, answer.model, others.length], ['chat.completion', MODEL, 0]);
    assert.deepEqual([message.role, finish_reason], ['assistant', 'length']);
    assert.ok(message.content);
    assertChatUsage(answer.usage, LIMIT);
    assert.ok(answer._request_id);
  });

  it('streams a role, texts, a finish reason and usage', async () => {
    const chunks = await collect(
      await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }),
    );
    const { choices: none, usage } = chunks.pop();
    assert.deepEqual(none, []);
    assertChatUsage(usage, LIMIT);
    const choices = chunks.map(({ choices: [choice] }) => choice);
    assert.deepEqual(choices.map(({ finish_reason }) => finish_reason), [...choices.slice(1).fill(null), 'length']);
    assert.deepEqual(choices.map(({ delta }) => delta.role), ['assistant', ...choices.slice(1).fill(undefined)]);
    // How many tokens a chunk has is up to the service's load, but a stream has several.
    assert.ok(choices.filter(({ delta }) => delta.content).length > 1);
  });

  it('gives an object that .parse() reads', async () => {
    const answer = await client.chat.completions.parse({ ...askObject, max_tokens: AMPLE });
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assertFits(Weather, answer.choices[0].message.parsed);
  });

  it('says that an object was cut off, and .parse() throws it', async () => {
    await assert.rejects(client.chat.completions.parse({ ...askObject, max_tokens: SCANT }), LengthFinishReasonError);
  });

  it('streams an object that .stream() reads', async () => {
    const stream = client.chat.completions.stream({
      ...askObject, max_tokens: AMPLE, stream_options: { include_usage: true },
    });
    let text = '';
    stream.on('content.delta', ({ delta }) => (text += delta));
    const answer = await stream.finalChatCompletion();
    const { content, parsed } = answer.choices[0].message;
    assert.equal(text, content);
    assertFits(Weather, parsed);
    assert.ok(answer.usage.completion_tokens > SCANT);
  });

  it('calls a tool when it must, takes the result and answers', async () => {
    const call = await client.chat.completions.parse(askCall);
    const { finish_reason, message } = call.choices[0];
    const [{ id, function: called }, ...others] = message.tool_calls;
    assert.deepEqual([finish_reason, called.name, others.length], ['tool_calls', TOOL.name, 0]);
    assertFits(TOOL.parameters, called.parsed_arguments);

    const result = { role: 'tool', tool_call_id: id, content: JSON.stringify(TOOL.result) };
    const answer = await client.chat.completions.create({
      ...request, messages: [...MESSAGES, message, result], tools, tool_choice: 'none',
    });
    assert.ok(answer.choices[0].message.content);
    assert.ok(answer.usage.prompt_tokens > call.usage.prompt_tokens);
  });

  it('streams a call that .stream() reads', async () => {
    const choice = { type: 'function', function: { name: TOOL.name } };
    const stream = client.chat.completions.stream({ ...askCall, tool_choice: choice });
    const done = stream.emitted('tool_calls.function.arguments.done');
    let text = '';
    stream.on('tool_calls.function.arguments.delta', ({ arguments_delta }) => (text += arguments_delta));
    const { message } = (await stream.finalChatCompletion()).choices[0];
    assert.equal((await done).name, TOOL.name);
    assert.equal(text, message.tool_calls[0].function.arguments);
    assertFits(TOOL.parameters, message.tool_calls[0].function.parsed_arguments);
  });

  for (const stream of [false, true]) {
    it(`works with .runTools(), ${stream ? 'streamed' : 'whole'}`, async () => {
      // The choice stands in every request, so the model calls once more when it has the result.
      const runner = client.chat.completions.runTools({ ...askCall, stream }, { maxChatCompletions: 2 });
      await runner.done();
      const roles = runner.messages.map(({ role }) => role);
      assert.deepEqual(roles, ['user', 'assistant', 'tool', 'assistant', 'tool']);
      assert.equal(runner.messages[2].tool_call_id, runner.messages[1].tool_calls[0].id);
      assert.equal(runner.messages[2].content, JSON.stringify(TOOL.result));
    });
  }
});

describe('openai: POST /v1/responses', () => {
  const request = { model: MODEL, input: PROMPT, max_output_tokens: LIMIT, logit_bias: NO_END };
  const askObject = { model: MODEL, input: PROMPT, text: { format: zodTextFormat(Weather, 'weather') } };
  const input = [{ role: 'user', content: PROMPT }];
  const tools = [zodResponsesFunction(TOOL)];
  const askCall = {
    model: MODEL, input, max_output_tokens: AMPLE, tools, tool_choice: 'required', parallel_tool_calls: false,
  };

  it('answers with text, a status, usage and a request id', async () => {
    const response = await client.responses.create(request);
    assert.deepEqual([response.object, response.model, response.status], ['response', MODEL, 'incomplete']);
    assert.equal(response.incomplete_details.reason, 'max_output_tokens');
    assert.ok(response.output_text);
    assertResponseUsage(response.usage, LIMIT);
    assert.ok(response._request_id);
  });

  it('streams its events in their order, numbered', async () => {
    const events = await collect(await client.responses.create({ ...request, stream: true }));
    assert.deepEqual(kindsOf(events), [
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.incomplete',
    ]);
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    const [message] = events.at(-1).response.output;
    const deltas = events.filter(({ type }) => type === 'response.output_text.delta');
    assert.ok(deltas.every(({ item_id }) => item_id === message.id));
    assert.equal(deltas.map(({ delta }) => delta).join(''), message.content[0].text);
    assertResponseUsage(events.at(-1).response.usage, LIMIT);
  });

  it('gives an object that .parse() reads', async () => {
    const response = await client.responses.parse({ ...askObject, max_output_tokens: AMPLE });
    assert.equal(response.status, 'completed');
    assertFits(Weather, response.output_parsed);
  });

  it('streams an object that .stream() reads', async () => {
    const stream = client.responses.stream({ ...askObject, max_output_tokens: AMPLE });
    const snapshots = [];
    stream.on('response.output_text.delta', ({ snapshot }) => snapshots.push(snapshot));
    const response = await stream.finalResponse();
    assert.equal(snapshots.at(-1), response.output_text);
    assertFits(Weather, response.output_parsed);
  });

  it('calls a tool when it must, takes the result and answers', async () => {
    const response = await client.responses.parse(askCall);
    const [call, ...others] = response.output;
    assert.deepEqual([call.type, call.name, others.length], ['function_call', TOOL.name, 0]);
    assertFits(TOOL.parameters, call.parsed_arguments);

    const result = { type: 'function_call_output', call_id: call.call_id, output: JSON.stringify(TOOL.result) };
    const answer = await client.responses.create({
      ...request, input: [...input, call, result], tools, tool_choice: 'none',
    });
    assert.ok(answer.output_text);
    assert.ok(answer.usage.input_tokens > response.usage.input_tokens);
  });

  it('streams a call that .stream() reads', async () => {
    const stream = client.responses.stream({ ...askCall, tool_choice: { type: 'function', name: TOOL.name } });
    const events = await collect(stream);
    assert.deepEqual(kindsOf(events).slice(2), [
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    assertFits(TOOL.parameters, (await stream.finalResponse()).output[0].parsed_arguments);
  });

  it('takes its own output items back as the next input', async () => {
    const first = await client.responses.create({ ...request, input });
    const next = [...input, ...first.output, ...input];
    const second = await client.responses.create({ ...request, input: next });
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  });
});

const CREATE = {
  '/v1/chat/completions': (client, body) => client.chat.completions.create({ messages: MESSAGES, ...body }),
  '/v1/responses': (client, body) => client.responses.create({ input: PROMPT, ...body }),
};

for (const [route, create] of Object.entries(CREATE)) {
  describe(`openai: errors of POST ${route}`, () => {
    for (const stream of [false, true]) {
      const way = stream ? 'streamed' : 'whole';

      it(`an unknown model is a NotFoundError, ${way}`, async () => {
        await assert.rejects(create(client, { model: UNKNOWN_MODEL, stream }), (error) => {
          assert.ok(error instanceof NotFoundError);
          assert.deepEqual([error.status, error.code, error.param], [404, 'model_not_found', 'model']);
          assert.ok(error.requestID);
          return true;
        });
      });

      it(`a wrong key is an AuthenticationError, ${way}`, async () => {
        const stranger = client.withOptions({ apiKey: WRONG_KEY });
        await assert.rejects(create(stranger, { model: MODEL, stream }), (error) => {
          assert.ok(error instanceof AuthenticationError);
          assert.deepEqual([error.status, error.code], [401, 'invalid_api_key']);
          return true;
        });
      });
    }
  });
}

function assertChatUsage({ prompt_tokens, completion_tokens, total_tokens }, expected) {
  assertUsage({ input: prompt_tokens, output: completion_tokens, total: total_tokens }, expected);
}

function assertResponseUsage({ input_tokens, output_tokens, total_tokens }, expected) {
  assertUsage({ input: input_tokens, output: output_tokens, total: total_tokens }, expected);
}
