// The official Anthropic client, unmodified, does what its users do, with the models of three providers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';

import { DEFAULT_CONTENT, modelName, PRIVET_KEY, PRIVET_URL, PROVIDERS, QUESTION, requests, script } from './surroundings.js';

// No retries: a test sees the first answer.
const claude = new Anthropic({ baseURL: PRIVET_URL, apiKey: PRIVET_KEY, maxRetries: 0, timeout: 60_000 });

const WEATHER_TOOL = {
  name: 'get_weather',
  description: 'The weather of a city.',
  input_schema: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer' } },
    required: ['city'],
  },
};

const Person = z.object({ name: z.string(), age: z.number().int(), likes: z.array(z.string()) });

const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const weatherIn = (city) => ({ name: 'get_weather', arguments: { city } });

const ask = (model, more = {}) => ({ model, max_tokens: 1024, messages: QUESTION, ...more });

const toolUses = (message) => message.content.filter((block) => block.type === 'tool_use');

test('models are listed page by page', async () => {
  const ids = [];
  for await (const model of claude.models.list({ limit: 3 })) ids.push(model.id);
  assert.ok(ids.includes(modelName('anthropic', 'claude-sonnet-4-5')), ids.join());
  assert.ok(ids.length > 3 && new Set(ids).size === ids.length);
});

for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
  const model = modelName(provider, plainModel);
  // A model name that no other test uses, at this provider: as the mock knows it and as Privet does.
  const own = (name) => {
    const bare = `test-js-claude-${name}-${provider}`;
    return { bare, full: modelName(provider, bare) };
  };

  describe(provider, () => {
    test('a message is answered with usage', async () => {
      const message = await claude.messages.create(ask(model));
      assert.deepEqual([message.type, message.role, message.stop_reason], ['message', 'assistant', 'end_turn']);
      assert.deepEqual(message.content.map((block) => block.text), [DEFAULT_CONTENT]);
      assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
      assert.ok(message._request_id);
    });

    test('a stream is put together by the SDK', async () => {
      const stream = claude.messages.stream(ask(model));
      let text = '';
      stream.on('text', (delta) => {
        text += delta;
      });
      const message = await stream.finalMessage();
      assert.deepEqual([text, message.content[0].text, message.stop_reason], [DEFAULT_CONTENT, DEFAULT_CONTENT, 'end_turn']);
      assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
    });

    test('tool loop takes two steps', async () => {
      const { bare, full } = own('tool-loop');
      await script(bare, { tool_calls: [{ name: 'get_weather', arguments: { city: 'Oslo', days: 2 } }] }, { once: true });
      await script(bare, { content: 'It is 17 degrees.' });
      const first = await claude.messages.create(ask(full, { tools: [WEATHER_TOOL] }));
      assert.equal(first.stop_reason, 'tool_use');
      const [call] = toolUses(first);
      assert.deepEqual([call.name, call.input], ['get_weather', { city: 'Oslo', days: 2 }]);
      const result = { type: 'tool_result', tool_use_id: call.id, content: 'seventeen degrees' };
      const messages = [...QUESTION, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }];
      const second = await claude.messages.create(ask(full, { messages, tools: [WEATHER_TOOL] }));
      assert.equal(second.content[0].text, 'It is 17 degrees.');
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      assert.ok(sent.includes('seventeen degrees') && sent.includes('get_weather'), sent);
    });

    for (const index of ['normal', 'interleaved']) {
      test(`parallel tool calls stream apart, indexes ${index}`, async () => {
        const { bare, full } = own(`parallel-${index}`);
        const cities = ['Oslo', 'Bergen', 'Tromsø'];
        await script(bare, { tool_calls: cities.map(weatherIn), tool_index: index });
        const message = await claude.messages.stream(ask(full, { tools: [WEATHER_TOOL] })).finalMessage();
        assert.deepEqual(toolUses(message).map((call) => call.input), cities.map((city) => ({ city })));
        assert.equal(new Set(toolUses(message).map((call) => call.id)).size, 3);
        assert.equal(message.stop_reason, 'tool_use');
      });
    }

    test('images reach the provider', async () => {
      const { bare, full } = own('images');
      const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } };
      const messages = [
        { role: 'user', content: [{ type: 'text', text: 'What is it?' }, image] },
        { role: 'assistant', content: [{ type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: {} }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_1', content: [image] }] },
      ];
      await claude.messages.create(ask(full, { messages, tools: [WEATHER_TOOL] }));
      assert.equal(JSON.stringify((await requests(bare)).at(-1).body).split(PIXEL).length, 3);
    });

    test('thinking is shown and goes back', async () => {
      const { bare, full } = own('thinking');
      await script(bare, { thinking: 'Let me see.', signature: 'c2lnbmF0dXJl', content: 'Sunny.' }, { once: true });
      const request = ask(full, { max_tokens: 4096, thinking: { type: 'enabled', budget_tokens: 1024 } });
      const message = await claude.messages.stream(request).finalMessage();
      assert.equal(message.content.find((block) => block.type === 'thinking').thinking, 'Let me see.');
      const messages = [...QUESTION, { role: 'assistant', content: message.content }, { role: 'user', content: 'Sure?' }];
      await claude.messages.create({ ...request, messages });
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      assert.equal(sent.includes('c2lnbmF0dXJl'), provider === 'anthropic', sent);
    });

    test('structured output is parsed', async () => {
      const request = ask(model, { output_config: { format: zodOutputFormat(Person) } });
      const { parsed_output: parsed } = await claude.messages.parse(request);
      assert.equal(typeof parsed.name, 'string');
      assert.ok(Number.isInteger(parsed.age));
      assert.deepEqual(parsed.likes, ['text']);
    });

    test('tokens are counted where the provider counts', async () => {
      const request = { model, messages: QUESTION, system: 'Be brief.', tools: [WEATHER_TOOL] };
      if (provider === 'openai') {
        await assert.rejects(claude.messages.countTokens(request), Anthropic.BadRequestError);
      } else {
        assert.ok((await claude.messages.countTokens(request)).input_tokens >= 8);
      }
    });

    test('betas reach Anthropic alone', async () => {
      const { bare, full } = own('betas');
      const betas = ['interleaved-thinking-2025-05-14', 'context-management-2025-06-27'];
      await claude.beta.messages.create({ ...ask(full), betas });
      const sent = (await requests(bare)).at(-1);
      const expected = provider === 'anthropic' ? betas.join(',') : undefined;
      assert.equal(sent.headers['anthropic-beta']?.replaceAll(' ', ''), expected);
    });

    test('a refused request is BadRequestError', async () => {
      const { bare, full } = own('bad-request');
      await script(bare, { status: 400, error_message: 'top_p is out of range' });
      await assert.rejects(claude.messages.create(ask(full)), (error) => {
        assert.ok(error instanceof Anthropic.BadRequestError, String(error));
        assert.match(error.message, /top_p is out of range/);
        assert.ok(error.requestID);
        return true;
      });
    });

    for (const stream of [false, true]) {
      test(`a rate limit is RateLimitError with retry-after, stream: ${stream}`, async () => {
        const { bare, full } = own('rate-limit');
        await script(bare, { status: 429, headers: { 'retry-after': '27' } });
        await assert.rejects(claude.messages.create({ ...ask(full), stream }), (error) => {
          assert.ok(error instanceof Anthropic.RateLimitError, String(error));
          // A gateway may have counted some of it down.
          const seconds = Number(error.headers.get('retry-after'));
          assert.ok(seconds >= 20 && seconds <= 27, String(seconds));
          return true;
        });
      });

      test(`a failure of the provider is InternalServerError, stream: ${stream}`, async () => {
        const { bare, full } = own('failure');
        await script(bare, { status: 500 });
        await assert.rejects(claude.messages.create({ ...ask(full), stream }), Anthropic.InternalServerError);
      });
    }

    test('an error in the middle of a stream is raised', async () => {
      const { bare, full } = own('error-inside');
      await script(bare, { content: 'one two three', error_inside_200: { after_chunks: 2 } });
      let text = '';
      const read = async () => {
        for await (const event of await claude.messages.create({ ...ask(full), stream: true })) {
          text += event.delta?.text ?? '';
        }
      };
      await assert.rejects(read, Anthropic.APIError);
      assert.equal(text, 'one two ');
    });
  });
}
