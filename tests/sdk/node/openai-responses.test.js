// The official OpenAI client, unmodified: the Responses API, with the models of three providers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { client, DEFAULT_CONTENT, modelName, PROVIDERS, requests, script } from './surroundings.js';

const QUESTION = 'What is the weather in Oslo?';
const WEATHER_TOOL = {
  type: 'function',
  name: 'get_weather',
  description: 'The weather of a city.',
  strict: false,
  parameters: {
    type: 'object',
    properties: { city: { type: 'string' }, days: { type: 'integer' } },
    required: ['city'],
  },
};
const PIXEL = 'iVBORw0KGgo=';

const Person = z.object({ name: z.string(), age: z.number().int(), likes: z.array(z.string()) });

const weatherIn = (city) => ({ name: 'get_weather', arguments: { city } });
const callsOf = (response) => response.output.filter((item) => item.type === 'function_call');
const outputOf = (call) => ({ type: 'function_call_output', call_id: call.call_id, output: 'seventeen degrees' });

for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
  const model = modelName(provider, plainModel);
  // A model name that no other test uses, at this provider: as the mock knows it and as Privet does.
  const own = (name) => {
    const bare = `test-js-responses-${name}-${provider}`;
    return { bare, full: modelName(provider, bare) };
  };

  describe(`responses of ${provider}`, () => {
    test('a response is made, read and deleted', async () => {
      const made = await client.responses.create({ model, input: QUESTION, instructions: 'Be brief.' });
      assert.deepEqual([made.object, made.status, made.output_text], ['response', 'completed', DEFAULT_CONTENT]);
      assert.equal(made.usage.total_tokens, made.usage.input_tokens + made.usage.output_tokens);
      const read = await client.responses.retrieve(made.id);
      assert.deepEqual(read.output, made.output);
      await client.responses.delete(made.id);
      await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
    });

    test('input items are listed page by page', async () => {
      const input = [0, 1, 2].map((number) => ({ role: 'user', content: `item ${number}` }));
      const made = await client.responses.create({ model, input });
      const texts = [];
      for await (const item of client.responses.inputItems.list(made.id, { order: 'asc', limit: 2 })) {
        texts.push(item.content[0].text);
      }
      assert.deepEqual(texts, ['item 0', 'item 1', 'item 2']);
    });

    test('a stream is sound from created to completed', async () => {
      const events = [];
      const stream = await client.responses.create({ model, input: QUESTION, stream: true });
      for await (const event of stream) events.push(event);
      assert.deepEqual(events.slice(0, 2).map(({ type }) => type), ['response.created', 'response.in_progress']);
      assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, at) => at));
      const deltas = events.filter(({ type }) => type === 'response.output_text.delta');
      assert.equal(deltas.map(({ delta }) => delta).join(''), DEFAULT_CONTENT);
      assert.equal(events.at(-1).type, 'response.completed');
      assert.ok(events.at(-1).response.usage.output_tokens > 0);
    });

    test('the stream helper of the SDK assembles text and calls', async () => {
      const { bare, full } = own('helper');
      const cities = ['Oslo', 'Bergen', 'Tromsø'];
      await script(bare, { tool_calls: cities.map(weatherIn) });
      const response = await client.responses.stream({ model: full, input: QUESTION, tools: [WEATHER_TOOL] }).finalResponse();
      assert.deepEqual(callsOf(response).map((call) => JSON.parse(call.arguments).city), cities);
      const said = await client.responses.stream({ model, input: QUESTION }).finalResponse();
      assert.equal(said.output_text, DEFAULT_CONTENT);
    });

    for (const stream of [false, true]) {
      test(`a tool loop goes on by previous_response_id, ${stream ? 'streamed' : 'whole'}`, async () => {
        const { bare, full } = own(`tool-loop-${stream}`);
        await script(bare, { tool_calls: [weatherIn('Oslo')] }, { once: true });
        await script(bare, { content: 'It is 17 degrees.' });
        const asked = { model: full, input: QUESTION, tools: [WEATHER_TOOL] };
        const first = stream ? await client.responses.stream(asked).finalResponse() : await client.responses.create(asked);
        const second = await client.responses.create({
          model: full,
          input: callsOf(first).map(outputOf),
          tools: [WEATHER_TOOL],
          previous_response_id: first.id,
        });
        assert.equal(second.output_text, 'It is 17 degrees.');
        const sent = JSON.stringify((await requests(bare)).at(-1).body);
        assert.ok(sent.includes('seventeen degrees') && sent.includes(QUESTION), sent);
      });
    }

    test('structured output is parsed', async () => {
      const format = zodTextFormat(Person, 'person');
      const reply = await client.responses.parse({ model, input: QUESTION, text: { format } });
      const { name, age, likes } = reply.output_parsed;
      assert.deepEqual([name, likes, Number.isInteger(age)], ['text', ['text'], true]);
    });

    test('a picture reaches the provider', async () => {
      const { bare, full } = own('picture');
      const content = [
        { type: 'input_text', text: 'What is this?' },
        { type: 'input_image', image_url: `data:image/png;base64,${PIXEL}`, detail: 'auto' },
      ];
      await client.responses.create({ model: full, input: [{ role: 'user', content }] });
      assert.ok(JSON.stringify((await requests(bare)).at(-1).body).includes(PIXEL));
    });

    test('an unknown previous response is a BadRequestError', async () => {
      const asked = { model, input: QUESTION, previous_response_id: 'resp_unknown' };
      await assert.rejects(client.responses.create(asked), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.equal(error.code, 'previous_response_not_found');
        return true;
      });
    });

    test('a failure in the middle of a stream ends as failed', async () => {
      const { bare, full } = own('failure');
      await script(bare, { content: 'one two three', error_inside_200: { after_chunks: 2 } });
      const kinds = [];
      const stream = await client.responses.create({ model: full, input: QUESTION, stream: true });
      for await (const event of stream) kinds.push(event.type);
      assert.equal(kinds.at(-1), 'response.failed');
      assert.ok(!kinds.includes('response.completed'));
    });
  });
}
