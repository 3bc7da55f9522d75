// Vercel's AI SDK with its providers for OpenAI and for Anthropic, unmodified, does what its users do, with the models of three
// providers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { APICallError, generateObject, generateText, isStepCount, Output, streamText, tool } from 'ai';
import { z } from 'zod';

import { DEFAULT_CONTENT, modelName, PRIVET_KEY, PRIVET_URL, PROVIDERS, requests, script } from './surroundings.js';

const openai = createOpenAI({ baseURL: `${PRIVET_URL}/v1`, apiKey: PRIVET_KEY });
const anthropic = createAnthropic({ baseURL: `${PRIVET_URL}/v1`, apiKey: PRIVET_KEY });

// Each surface that the SDK has a provider for: how a model is named on it.
const SURFACES = {
  'openai.chat': (model) => openai.chat(model),
  'openai.responses': (model) => openai.responses(model),
  anthropic: (model) => anthropic(model),
};

const PROMPT = 'What is the weather in Oslo?';

const Person = z.object({ name: z.string(), age: z.number().int(), likes: z.array(z.string()) });
const assertPerson = ({ age, ...rest }) => {
  assert.ok(Number.isInteger(age));
  assert.deepEqual(rest, { name: 'text', likes: ['text'] });
};

// Of models whose names it does not know the SDK believes that they can only be made to call a tool.
const BY_SCHEMA = { anthropic: { structuredOutputMode: 'outputFormat' } };

const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const weatherIn = (city) => ({ name: 'get_weather', arguments: { city } });

const weather = (asked) =>
  tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return `seventeen degrees in ${city}`;
    },
  });

for (const [surface, named] of Object.entries(SURFACES)) {
  for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
    // A model name that no other test uses, at this provider: as the mock knows it and as Privet does.
    const own = (name) => {
      const bare = `test-ai-${surface.replace('.', '-')}-${name}-${provider}`;
      return { bare, model: named(modelName(provider, bare)) };
    };
    // No retries: a test sees the first answer.
    const ask = (model, more = {}) => ({ model, prompt: PROMPT, maxRetries: 0, ...more });
    const known = named(modelName(provider, plainModel));
    const lastSent = async (bare) => JSON.stringify((await requests(bare)).at(-1).body);

    describe(`${surface}, ${provider}`, () => {
      test('generateText answers with usage', async () => {
        const { text, finishReason, usage } = await generateText(ask(known));
        assert.deepEqual([text, finishReason], [DEFAULT_CONTENT, 'stop']);
        assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0, JSON.stringify(usage));
      });

      test('instructions and settings reach the provider', async () => {
        const { bare, model } = own('settings');
        const settings = { temperature: 0.5, maxOutputTokens: 1234, stopSequences: ['END'] };
        await generateText(ask(model, { system: 'Speak like a pirate.', ...settings }));
        const sent = await lastSent(bare);
        // The Responses API has no stop sequences.
        const stops = surface === 'openai.responses' ? [] : ['END'];
        for (const said of ['Speak like a pirate.', '0.5', '1234', ...stops]) assert.ok(sent.includes(said), sent);
      });

      test('streamText is read to its end', async () => {
        const stream = streamText(ask(known));
        let text = '';
        for await (const delta of stream.textStream) text += delta;
        assert.deepEqual([text, await stream.finishReason], [DEFAULT_CONTENT, 'stop']);
        const usage = await stream.usage;
        assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0, JSON.stringify(usage));
      });

      test('tools are run by the SDK, several at once', async () => {
        const { bare, model } = own('tools');
        await script(bare, { tool_calls: ['Oslo', 'Bergen'].map(weatherIn) }, { once: true });
        const asked = [];
        const { text, steps } = await generateText(ask(model, { tools: { get_weather: weather(asked) }, stopWhen: isStepCount(3) }));
        assert.deepEqual([asked.sort(), text, steps.length], [['Bergen', 'Oslo'], DEFAULT_CONTENT, 2]);
        const sent = await lastSent(bare);
        assert.ok(sent.includes('seventeen degrees in Oslo') && sent.includes('seventeen degrees in Bergen'), sent);
      });

      for (const index of ['normal', 'interleaved']) {
        test(`streamed tool calls stay apart, indexes ${index}`, async () => {
          const { bare, model } = own(`parallel-${index}`);
          const cities = ['Oslo', 'Bergen', 'Tromsø'];
          await script(bare, { tool_calls: cities.map(weatherIn), tool_index: index }, { once: true });
          const asked = [];
          const stream = streamText(ask(model, { tools: { get_weather: weather(asked) }, stopWhen: isStepCount(3) }));
          assert.equal(await stream.text, DEFAULT_CONTENT);
          const [first] = await stream.steps;
          assert.deepEqual(first.toolCalls.map((call) => call.input), cities.map((city) => ({ city })));
          assert.equal(new Set(first.toolCalls.map((call) => call.toolCallId)).size, 3);
          assert.equal(first.finishReason, 'tool-calls');
        });
      }

      test('a tool can be demanded by its name', async () => {
        const { bare, model } = own('tool-choice');
        await script(bare, { tool_calls: [weatherIn('Oslo')] });
        const toolChoice = { type: 'tool', toolName: 'get_weather' };
        const { toolCalls } = await generateText(ask(model, { tools: { get_weather: weather([]) }, toolChoice }));
        assert.deepEqual(toolCalls.map((call) => call.input), [{ city: 'Oslo' }]);
      });

      test('an output has its schema', async () => {
        const { output } = await generateText(ask(known, { output: Output.object({ schema: Person }), providerOptions: BY_SCHEMA }));
        assertPerson(output);
      });

      test('an object has its schema', async () => {
        const { object } = await generateObject(ask(known, { schema: Person, providerOptions: BY_SCHEMA }));
        assertPerson(object);
      });

      test('a streamed output has its schema', async () => {
        const stream = streamText(ask(known, { output: Output.object({ schema: Person }), providerOptions: BY_SCHEMA }));
        let last;
        for await (const partial of stream.partialOutputStream) last = partial;
        assertPerson(last);
        assertPerson(await stream.output);
      });

      test('images reach the provider', async () => {
        const { bare, model } = own('images');
        const content = [
          { type: 'text', text: 'What is it?' },
          { type: 'file', mediaType: 'image/png', data: PIXEL },
          { type: 'file', mediaType: 'image/png', data: new URL('https://example.com/cat.png') },
        ];
        await generateText({ model, maxRetries: 0, messages: [{ role: 'user', content }] });
        const sent = await lastSent(bare);
        assert.ok(sent.includes(PIXEL) && sent.includes('https://example.com/cat.png'), sent);
      });

      test("a refused request is an APICallError with the provider's words", async () => {
        const { bare, model } = own('bad-request');
        await script(bare, { status: 400, error_message: 'top_p is out of range' });
        await assert.rejects(generateText(ask(model)), (error) => {
          assert.ok(APICallError.isInstance(error), String(error));
          assert.deepEqual([error.statusCode, error.isRetryable], [400, false]);
          assert.match(error.message, /top_p is out of range/);
          return true;
        });
      });

      test('a rate limit can be retried, and says when', async () => {
        const { bare, model } = own('rate-limit');
        await script(bare, { status: 429, headers: { 'retry-after': '27' } });
        await assert.rejects(generateText(ask(model)), (error) => {
          assert.deepEqual([error.statusCode, error.isRetryable], [429, true]);
          assert.ok(Number(error.responseHeaders['retry-after']) <= 27);
          return true;
        });
      });

      test('an error in the middle of a stream is told', async () => {
        const { bare, model } = own('error-inside');
        await script(bare, { content: 'one two three', error_inside_200: { after_chunks: 2 } });
        let text = '';
        const errors = [];
        for await (const part of streamText(ask(model, { onError: () => {} })).stream) {
          if (part.type === 'text-delta') text += part.text;
          if (part.type === 'error') errors.push(part.error);
        }
        assert.deepEqual([text, errors.length], ['one two ', 1]);
      });
    });
  }
}

for (const provider of Object.keys(PROVIDERS)) {
  test(`an output by way of a tool has its schema: anthropic, ${provider}`, async () => {
    const bare = `test-ai-json-tool-${provider}`;
    await script(bare, { tool_calls: [{ name: 'json', arguments: { name: 'text', age: 1, likes: ['text'] } }] });
    const { output } = await generateText({
      model: anthropic(modelName(provider, bare)),
      prompt: PROMPT,
      maxRetries: 0,
      output: Output.object({ schema: Person }),
      providerOptions: { anthropic: { structuredOutputMode: 'jsonTool' } },
    });
    assertPerson(output);
  });

  test(`reasoning is shown and goes back: anthropic, ${provider}`, async () => {
    const bare = `test-ai-reasoning-${provider}`;
    await script(bare, { thinking: 'Let me see.', signature: 'c2lnbmF0dXJl', tool_calls: [weatherIn('Oslo')] }, { once: true });
    const { reasoningText, steps, text } = await generateText({
      model: anthropic(modelName(provider, bare)),
      prompt: PROMPT,
      maxRetries: 0,
      maxOutputTokens: 4096,
      tools: { get_weather: weather([]) },
      stopWhen: isStepCount(3),
      providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } },
    });
    assert.deepEqual([steps[0].reasoningText, reasoningText, text], ['Let me see.', undefined, DEFAULT_CONTENT]);
    const sent = JSON.stringify((await requests(bare)).at(-1).body);
    // Gemini's signature belongs to the call.
    assert.equal(sent.includes('c2lnbmF0dXJl'), provider !== 'openai', sent);
  });
}

test('an effort of reasoning reaches the provider: openai.chat', async () => {
  const bare = 'test-ai-effort';
  await generateText({
    model: openai.chat(modelName('openai', bare)),
    prompt: PROMPT,
    maxRetries: 0,
    providerOptions: { openai: { reasoningEffort: 'low', forceReasoning: true } },
  });
  assert.equal((await requests(bare)).at(-1).body.reasoning_effort, 'low');
});
