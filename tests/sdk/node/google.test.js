// The official Gemini client, unmodified, does what its users do, with the models of three providers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { ApiError, FinishReason, GoogleGenAI, Type } from '@google/genai';

import { DEFAULT_CONTENT, modelName, PRIVET_KEY, PRIVET_URL, PROVIDERS, requests, script } from './surroundings.js';

const google = new GoogleGenAI({ apiKey: PRIVET_KEY, httpOptions: { baseUrl: PRIVET_URL, timeout: 60_000 } });

const QUESTION = 'What is the weather in Oslo?';

const WEATHER = {
  functionDeclarations: [
    {
      name: 'get_weather',
      description: 'The weather of a city.',
      parameters: {
        type: Type.OBJECT,
        properties: { city: { type: Type.STRING }, days: { type: Type.INTEGER } },
        required: ['city'],
      },
    },
  ],
};

const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const said = (text) => ({ role: 'user', parts: [{ text }] });

const weatherIn = (city) => ({ name: 'get_weather', arguments: { city } });

test('models are listed page by page', async () => {
  const names = [];
  for await (const model of await google.models.list({ config: { pageSize: 3 } })) names.push(model.name);
  assert.ok(names.includes(`models/${modelName('openai', 'gpt-4o-mini')}`), names.join());
  assert.ok(names.length > 3 && new Set(names).size === names.length);
  const one = await google.models.get({ model: modelName('gemini', 'gemini-2.5-flash') });
  assert.equal(one.displayName, modelName('gemini', 'gemini-2.5-flash'));
});

for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
  const model = modelName(provider, plainModel);
  // A model name that no other test uses, at this provider: as the mock knows it and as Privet does.
  const own = (name) => {
    const bare = `test-js-google-${name}-${provider}`;
    return { bare, full: modelName(provider, bare) };
  };

  describe(provider, () => {
    test('a question is answered with usage', async () => {
      const reply = await google.models.generateContent({ model, contents: QUESTION });
      assert.deepEqual([reply.text, reply.candidates[0].finishReason], [DEFAULT_CONTENT, FinishReason.STOP]);
      assert.ok(reply.usageMetadata.promptTokenCount > 0 && reply.usageMetadata.candidatesTokenCount > 0);
      assert.ok(reply.responseId && reply.modelVersion);
    });

    test('a stream is read to its end', async () => {
      let text = '';
      let last;
      for await (const piece of await google.models.generateContentStream({ model, contents: QUESTION })) {
        text += piece.text ?? '';
        last = piece;
      }
      assert.deepEqual([text, last.candidates[0].finishReason], [DEFAULT_CONTENT, FinishReason.STOP]);
      assert.ok(last.usageMetadata.totalTokenCount > 0);
    });

    test('a chat goes on with its whole history', async () => {
      const { bare, full } = own('chat');
      const chat = google.chats.create({ model: full });
      assert.equal((await chat.sendMessage({ message: 'My cat is Filemon.' })).text, DEFAULT_CONTENT);
      let streamed = '';
      for await (const piece of await chat.sendMessageStream({ message: 'And my cat?' })) streamed += piece.text ?? '';
      assert.equal(streamed, DEFAULT_CONTENT);
      await chat.sendMessage({ message: 'Sure?' });
      const sent = (await requests(bare)).at(-1).body;
      if (provider !== 'gemini') assert.equal(sent.messages.length, 5, JSON.stringify(sent));
      // The client keeps an answer only where each piece of it is sound.
      assert.ok(chat.getHistory(true).length >= 6);
    });

    test('tool loop takes two steps', async () => {
      const { bare, full } = own('tool-loop');
      await script(bare, { tool_calls: [{ name: 'get_weather', arguments: { city: 'Oslo', days: 2 } }] }, { once: true });
      await script(bare, { content: 'It is 17 degrees.' });
      const config = { tools: [WEATHER] };
      const first = await google.models.generateContent({ model: full, contents: QUESTION, config });
      const [call] = first.functionCalls;
      assert.deepEqual([call.name, call.args], ['get_weather', { city: 'Oslo', days: 2 }]);
      const functionResponse = { id: call.id, name: call.name, response: { degrees: 'seventeen' } };
      const contents = [said(QUESTION), first.candidates[0].content, { role: 'user', parts: [{ functionResponse }] }];
      const second = await google.models.generateContent({ model: full, contents, config });
      assert.equal(second.text, 'It is 17 degrees.');
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      assert.ok(sent.includes('seventeen') && sent.includes('get_weather'), sent);
    });

    for (const index of ['normal', 'interleaved']) {
      test(`parallel tool calls stream apart, indexes ${index}`, async () => {
        const { bare, full } = own(`parallel-${index}`);
        const cities = ['Oslo', 'Bergen', 'Tromsø'];
        await script(bare, { tool_calls: cities.map(weatherIn), tool_index: index });
        const calls = [];
        const stream = await google.models.generateContentStream({ model: full, contents: QUESTION, config: { tools: [WEATHER] } });
        for await (const piece of stream) calls.push(...(piece.functionCalls ?? []));
        assert.deepEqual(calls.map((call) => call.args), cities.map((city) => ({ city })));
      });
    }

    test('images reach the provider', async () => {
      const { bare, full } = own('images');
      const contents = [{ role: 'user', parts: [{ text: 'What is it?' }, { inlineData: { mimeType: 'image/png', data: PIXEL } }] }];
      await google.models.generateContent({ model: full, contents });
      assert.ok(JSON.stringify((await requests(bare)).at(-1).body).includes(PIXEL));
    });

    test('thinking is shown and goes back', async () => {
      const { bare, full } = own('thinking');
      await script(bare, { thinking: 'Let me see.', signature: 'c2lnbmF0dXJl', content: 'Sunny.' }, { once: true });
      const config = { maxOutputTokens: 4096, thinkingConfig: { thinkingBudget: 1024, includeThoughts: true } };
      const contents = [said(QUESTION)];
      let thought = '';
      for await (const piece of await google.models.generateContentStream({ model: full, contents: [said(QUESTION)], config })) {
        const { content } = piece.candidates[0];
        contents.push(content);
        thought += content.parts.filter((part) => part.thought).map((part) => part.text ?? '').join('');
      }
      assert.equal(thought, 'Let me see.');
      contents.push(said('Sure?'));
      await google.models.generateContent({ model: full, contents, config });
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      if (provider !== 'gemini') assert.equal(sent.includes('"c2lnbmF0dXJl"'), provider === 'anthropic', sent);
    });

    test('structured output has its shape', async () => {
      const responseSchema = {
        type: Type.OBJECT,
        properties: { name: { type: Type.STRING }, age: { type: Type.INTEGER }, likes: { type: Type.ARRAY, items: { type: Type.STRING } } },
        required: ['name', 'age', 'likes'],
      };
      const config = { responseMimeType: 'application/json', responseSchema };
      const reply = await google.models.generateContent({ model, contents: QUESTION, config });
      assert.deepEqual(JSON.parse(reply.text), { name: 'text', age: 1, likes: ['text'] });
    });

    test('tokens are counted where the provider counts', async () => {
      const counted = google.models.countTokens({ model, contents: QUESTION });
      if (provider === 'openai') {
        await assert.rejects(counted, (error) => error instanceof ApiError && error.status === 400);
      } else {
        assert.ok((await counted).totalTokens >= 5);
      }
    });

    for (const [status, seen] of [[400, 400], [404, 404], [429, 429], [500, 502]]) {
      test(`a provider's ${status} is an ApiError`, async () => {
        const { bare, full } = own(`status-${status}`);
        await script(bare, { status, error_message: 'top_p is out of range' });
        const read = async () => {
          for await (const piece of await google.models.generateContentStream({ model: full, contents: QUESTION })) assert.ok(piece);
        };
        const whole = () => google.models.generateContent({ model: full, contents: QUESTION });
        for (const ask of [whole, read]) {
          await assert.rejects(ask, (error) => {
            assert.ok(error instanceof ApiError, String(error));
            assert.equal(error.status, seen);
            assert.match(error.message, /top_p is out of range/);
            return true;
          });
        }
      });
    }

    test('an error in the middle of a stream is raised', async () => {
      const { bare, full } = own('error-inside');
      await script(bare, { content: 'one two three', error_inside_200: { after_chunks: 2 } });
      let text = '';
      const read = async () => {
        for await (const piece of await google.models.generateContentStream({ model: full, contents: QUESTION })) text += piece.text ?? '';
      };
      await assert.rejects(read, ApiError);
      assert.equal(text, 'one two ');
    });
  });
}
