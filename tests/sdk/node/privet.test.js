// What Privet adds or mends, seen through the official OpenAI client. Not to be run against the mock itself.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';

import {
  call, client, collect, DEFAULT_CONTENT, modelName, PRIVET_KEY, PRIVET_URL, PROVIDERS, QUESTION, requests, script,
} from './surroundings.js';

const TOOL = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } };

const newConversation = async () => (await call(`${PRIVET_URL}/api/conversations`, { body: {}, key: PRIVET_KEY })).id;

async function history(id) {
  const { messages } = await call(`${PRIVET_URL}/api/conversations/${id}`, { key: PRIVET_KEY });
  return messages.map(({ role, content }) => [role, content]);
}

const said = (content) => ({ messages: [{ role: 'user', content }] });

test('a wrong key is AuthenticationError', async () => {
  const stranger = client.withOptions({ apiKey: 'wrong' });
  await assert.rejects(async () => stranger.models.list(), OpenAI.AuthenticationError);
  const asked = stranger.chat.completions.create({ model: 'openai/gpt-4o-mini', messages: QUESTION });
  await assert.rejects(asked, OpenAI.AuthenticationError);
});

test('an unknown provider is NotFoundError that names the model', async () => {
  const asked = client.chat.completions.create({ model: 'nosuch/model', messages: QUESTION });
  await assert.rejects(asked, (error) => error instanceof OpenAI.NotFoundError && /nosuch\/model/.test(error.message));
});

test('a request without messages is BadRequestError with a request id', async () => {
  const asked = client.chat.completions.create({ model: 'openai/gpt-4o-mini', messages: [] });
  await assert.rejects(asked, (error) => error instanceof OpenAI.BadRequestError && Boolean(error.requestID));
});

for (const index of ['omit', 'repeat', 'gap', 'interleaved']) {
  test(`tool calls are numbered from 0 when the provider does: ${index}`, async () => {
    const name = `test-js-numbered-${index}`;
    await script(name, { tool_calls: [0, 1, 2].map((n) => ({ name: 'f', arguments: { n } })), tool_index: index });
    const request = { model: `openai/${name}`, messages: QUESTION, tools: [TOOL], stream: true };
    const { calls } = await collect(await client.chat.completions.create(request));
    assert.deepEqual([...calls].map(([at, { arguments: text }]) => [at, JSON.parse(text).n]), [[0, 0], [1, 1], [2, 2]]);
  });
}

for (const [provider, plainModel] of Object.entries(PROVIDERS)) {
  describe(provider, () => {
    test('a conversation goes on by header', async () => {
      const bare = `test-js-header-${provider}`;
      const id = await newConversation();
      const options = { headers: { 'x-conversation-id': id } };
      for (const text of ['My name is Ada.', 'What is my name?']) {
        await client.chat.completions.create({ model: modelName(provider, bare), ...said(text) }, options);
      }
      const sent = JSON.stringify((await requests(bare)).at(-1).body);
      assert.ok(['My name is Ada.', DEFAULT_CONTENT, 'What is my name?'].every((text) => sent.includes(text)), sent);
      assert.deepEqual(await history(id), [
        ['user', 'My name is Ada.'],
        ['assistant', DEFAULT_CONTENT],
        ['user', 'What is my name?'],
        ['assistant', DEFAULT_CONTENT],
      ]);
    });

    test('a conversation goes on by metadata, streamed', async () => {
      const bare = `test-js-metadata-${provider}`;
      const id = await newConversation();
      for (const text of ['My name is Ada.', 'What is my name?']) {
        const request = { model: modelName(provider, bare), ...said(text), metadata: { conversation_id: id } };
        await collect(await client.chat.completions.create({ ...request, stream: true }));
      }
      assert.ok(JSON.stringify((await requests(bare)).at(-1).body).includes('My name is Ada.'));
      assert.deepEqual((await history(id)).map(([role]) => role), ['user', 'assistant', 'user', 'assistant']);
    });

    test('an answer names the conversation it began', async () => {
      const request = { model: modelName(provider, plainModel), messages: QUESTION };
      const { response } = await client.chat.completions.create(request).withResponse();
      const kept = await history(response.headers.get('x-conversation-id'));
      assert.deepEqual(kept, [['user', QUESTION[0].content], ['assistant', DEFAULT_CONTENT]]);
    });

    test('a cut stream ends in an error', async () => {
      const bare = `test-js-cut-${provider}`;
      await script(bare, { content: 'one two three', cut_after_chunks: 2 });
      const request = { model: modelName(provider, bare), messages: QUESTION, stream: true };
      const read = async () => collect(await client.chat.completions.create(request));
      await assert.rejects(read, OpenAI.APIError);
    });
  });
}
