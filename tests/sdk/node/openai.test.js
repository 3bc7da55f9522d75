// The official OpenAI client, unmodified, does what its users do, with the models of three providers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { client, collect, DEFAULT_CONTENT, modelName, PROVIDERS, QUESTION, requests, script } from './surroundings.js';

const WEATHER_TOOL = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' } },
      required: ['city'],
    },
  },
};

const Person = z.object({ name: z.string(), age: z.number().int(), likes: z.array(z.string()) });

const weatherIn = (city) => ({ name: 'get_weather', arguments: { city } });

test('models are listed', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(modelName('openai', 'gpt-4o-mini')), ids.join());
});

for (const [encoding, extra] of [['float', { encoding_format: 'float' }], ['the default encoding', {}]]) {
  test(`embeddings of several texts in ${encoding}`, async () => {
    const model = modelName('openai', 'text-embedding-3-small');
    const reply = await client.embeddings.create({ model, input: ['a red fox', 'the red fox', 'tax law'], ...extra });
    const [a, b, c] = reply.data.map(({ embedding }) => embedding);
    const dot = (one, other) => one.reduce((sum, value, at) => sum + value * other[at], 0);
    assert.equal(a.length, 1536);
    assert.ok(dot(a, b) > 0.6 && dot(a, c) < 0.4);
    assert.ok(reply.usage.prompt_tokens > 0);
  });
}

for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
  const model = modelName(provider, plainModel);
  // A model name that no other test uses, at this provider: as the mock knows it and as Privet does.
  const own = (name) => {
    const bare = `test-js-${name}-${provider}`;
    return { bare, full: modelName(provider, bare) };
  };

  describe(provider, () => {
    test('chat answers with usage', async () => {
      const reply = await client.chat.completions.create({ model, messages: QUESTION });
      const [{ message, finish_reason: finish }] = reply.choices;
      assert.deepEqual([message.role, message.content, finish], ['assistant', DEFAULT_CONTENT, 'stop']);
      assert.ok(reply.usage.prompt_tokens > 0 && reply.usage.completion_tokens > 0);
      assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    });

    test('stream has the role first and no usage unasked', async () => {
      const all = await collect(await client.chat.completions.create({ model, messages: QUESTION, stream: true }));
      assert.equal(all.chunks[0].choices[0].delta.role, 'assistant');
      assert.ok(all.chunks.every((chunk) => chunk.choices.length > 0));
      assert.deepEqual([all.text, all.finishes, all.usages], [DEFAULT_CONTENT, ['stop'], []]);
    });

    test('stream has no usage when the option is off', async () => {
      const options = { stream: true, stream_options: { include_usage: false } };
      const all = await collect(await client.chat.completions.create({ model, messages: QUESTION, ...options }));
      assert.deepEqual(all.usages, []);
    });

    test('stream ends with usage when asked', async () => {
      const options = { stream: true, stream_options: { include_usage: true } };
      const all = await collect(await client.chat.completions.create({ model, messages: QUESTION, ...options }));
      assert.deepEqual(all.chunks.at(-1).choices, []);
      assert.deepEqual([all.text, all.usages.length], [DEFAULT_CONTENT, 1]);
      assert.equal(all.usages[0].total_tokens, all.usages[0].prompt_tokens + all.usages[0].completion_tokens);
    });

    test('tool loop takes two steps', async () => {
      const { bare, full } = own('tool-loop');
      const scripted = { name: 'get_weather', arguments: { city: 'Oslo', days: 2 } };
      await script(bare, { tool_calls: [scripted] }, { once: true });
      await script(bare, { content: 'It is 17 degrees.' });
      const first = await client.chat.completions.create({ model: full, messages: QUESTION, tools: [WEATHER_TOOL] });
      const { message, finish_reason: finish } = first.choices[0];
      assert.equal(finish, 'tool_calls');
      assert.equal(message.tool_calls.length, 1);
      assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Oslo', days: 2 });

      const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'seventeen degrees' };
      const messages = [...QUESTION, message, result];
      const second = await client.chat.completions.create({ model: full, messages, tools: [WEATHER_TOOL] });
      assert.equal(second.choices[0].message.content, 'It is 17 degrees.');
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      assert.ok(sent.includes('seventeen degrees') && sent.includes('get_weather'), sent);
    });

    test('tool runner of the SDK runs the loop by itself', async () => {
      const { bare, full } = own('tool-runner');
      await script(bare, { tool_calls: [weatherIn('Oslo')] }, { once: true });
      const asked = [];
      const tool = structuredClone(WEATHER_TOOL);
      tool.function.parse = JSON.parse;
      tool.function.function = ({ city }) => {
        asked.push(city);
        return 'seventeen degrees';
      };
      const runner = client.chat.completions.runTools({ model: full, messages: QUESTION, tools: [tool], stream: true });
      assert.equal(await runner.finalContent(), DEFAULT_CONTENT);
      assert.deepEqual(asked, ['Oslo']);
    });

    test('parallel tool calls stream apart', async () => {
      const { bare, full } = own('parallel');
      const cities = ['Oslo', 'Bergen', 'Tromsø'];
      await script(bare, { tool_calls: cities.map(weatherIn) });
      const request = { model: full, messages: QUESTION, tools: [WEATHER_TOOL], stream: true };
      const all = await collect(await client.chat.completions.create(request));
      assert.deepEqual([...all.calls.keys()], [0, 1, 2]);
      const calls = [...all.calls.values()];
      assert.deepEqual(calls.map((call) => JSON.parse(call.arguments).city), cities);
      assert.ok(calls.every((call) => call.name === 'get_weather'));
      assert.equal(new Set(calls.map((call) => call.id)).size, 3);
      assert.deepEqual(all.finishes, ['tool_calls']);
    });

    test('structured output is parsed', async () => {
      const request = { model, messages: QUESTION, response_format: zodResponseFormat(Person, 'person') };
      const reply = await client.chat.completions.parse(request);
      const { parsed } = reply.choices[0].message;
      assert.equal(typeof parsed.name, 'string');
      assert.ok(Number.isInteger(parsed.age));
      assert.deepEqual(parsed.likes, ['text']);
    });

    test('a refused request is BadRequestError', async () => {
      const { bare, full } = own('bad-request');
      await script(bare, { status: 400, error_message: 'top_p is out of range' });
      const asked = client.chat.completions.create({ model: full, messages: QUESTION });
      await assert.rejects(asked, (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError, String(error));
        assert.match(error.message, /top_p is out of range/);
        return true;
      });
    });

    test('a model unknown to the provider is NotFoundError', async () => {
      const { bare, full } = own('not-found');
      await script(bare, { status: 404 });
      await assert.rejects(client.chat.completions.create({ model: full, messages: QUESTION }), OpenAI.NotFoundError);
    });

    for (const stream of [false, true]) {
      test(`a rate limit is RateLimitError with retry-after, stream: ${stream}`, async () => {
        const { bare, full } = own('rate-limit');
        await script(bare, { status: 429, headers: { 'retry-after': '27' } });
        await assert.rejects(client.chat.completions.create({ model: full, messages: QUESTION, stream }), (error) => {
          assert.ok(error instanceof OpenAI.RateLimitError, String(error));
          // A gateway may have counted some of it down.
          const seconds = Number(error.headers.get('retry-after'));
          assert.ok(seconds >= 20 && seconds <= 27, String(seconds));
          return true;
        });
      });

      test(`a failure of the provider is InternalServerError, stream: ${stream}`, async () => {
        const { bare, full } = own('failure');
        await script(bare, { status: 500 });
        const asked = client.chat.completions.create({ model: full, messages: QUESTION, stream });
        await assert.rejects(asked, OpenAI.InternalServerError);
      });
    }

    test('an error in the middle of a stream is raised', async () => {
      const { bare, full } = own('error-inside');
      await script(bare, { content: 'one two three', error_inside_200: { after_chunks: 2 } });
      let text = '';
      const read = async () => {
        for await (const chunk of await client.chat.completions.create({ model: full, messages: QUESTION, stream: true })) {
          text += chunk.choices[0].delta.content ?? '';
        }
      };
      await assert.rejects(read, OpenAI.APIError);
      assert.equal(text, 'one two ');
    });
  });
}

test('pictures are made', async () => {
  const bare = 'test-js-pictures';
  const made = await client.images.generate({ model: modelName('openai', bare), prompt: 'a cat', n: 2 });
  assert.equal(made.data.length, 2);
  assert.ok(made.data[0].b64_json && made.usage.output_tokens > 0);
  assert.deepEqual((await requests(bare)).at(-1).body, { model: bare, prompt: 'a cat', n: 2 });
});

test('texts are moderated', async () => {
  const judged = await client.moderations.create({ input: ['one', 'two'] });
  assert.deepEqual(judged.results.map((result) => result.flagged), [false, false]);
});

test('a text is spoken', async () => {
  const bare = 'test-js-speech';
  const spoken = await client.audio.speech.create({ model: modelName('openai', bare), voice: 'alloy', input: 'hey' });
  assert.equal(spoken.headers.get('content-type'), 'audio/mpeg');
  assert.ok((await spoken.arrayBuffer()).byteLength > 0);
  assert.deepEqual((await requests(bare)).at(-1).body, { model: bare, voice: 'alloy', input: 'hey' });
});

test('a recording is written down', async () => {
  const bare = 'test-js-gpt-recording';
  const model = modelName('openai', bare);
  const file = () => new File([new Uint8Array(64)], 'a.wav', { type: 'audio/wav' });
  const heard = await client.audio.transcriptions.create({ model, file: file(), include: ['logprobs'] });
  assert.equal(heard.text, DEFAULT_CONTENT);
  const { body } = (await requests(bare)).at(-1);
  assert.deepEqual([body.model, body['include[]'], body.file.bytes], [bare, 'logprobs', 64]);
  let text = '';
  for await (const event of await client.audio.transcriptions.create({ model, file: file(), stream: true })) {
    if (event.type === 'transcript.text.delta') text += event.delta;
  }
  assert.equal(text, DEFAULT_CONTENT);
  const translated = await client.audio.translations.create({ model, file: file() });
  assert.equal(translated.text, DEFAULT_CONTENT);
});
