// Langfuse's SDKs for JavaScript, unmodified, with their base URL set to Privet: keys and prompts.
// `langfuse` 3 as the lesson uses it, and `@langfuse/client` 5.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';

import { LangfuseClient } from '@langfuse/client';
import { Langfuse } from 'langfuse';

import { relay } from './relay.js';
import { PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL } from './surroundings.js';

const PAIR = { baseUrl: PRIVET_URL, publicKey: PRIVET_PUBLIC_KEY, secretKey: PRIVET_SECRET_KEY };

const CHAT = [
  { role: 'system', content: 'You help {{user}}.' },
  { type: 'placeholder', name: 'history' },
  { role: 'user', content: '{{question}}' },
];

/** Both SDKs by the same names. */
const SDKS = {
  'langfuse 3': (options = {}) => {
    const sdk = new Langfuse({ ...PAIR, fetchRetryCount: 0, ...options });
    return {
      projects: () => sdk.api.projectsGet(),
      health: () => sdk.api.healthHealth(),
      list: (query) => sdk.api.promptsList(query),
      create: (body) => sdk.createPrompt(body),
      update: (body) => sdk.updatePrompt(body),
      get: (name, { version, ...more } = {}) => sdk.getPrompt(name, version, more),
      close: () => sdk.shutdownAsync(),
    };
  },
  '@langfuse/client 5': (options = {}) => {
    const sdk = new LangfuseClient({ ...PAIR, ...options });
    return {
      projects: () => sdk.api.projects.get(),
      health: () => sdk.api.health.health(),
      list: (query) => sdk.api.prompts.list(query),
      create: (body) => sdk.prompt.create(body),
      update: (body) => sdk.prompt.update(body),
      remove: (name, query) => sdk.prompt.delete(name, query),
      get: (name, more) => sdk.prompt.get(name, more),
      close: () => sdk.shutdown(),
    };
  },
};

for (const [version, sdk] of Object.entries(SDKS)) {
  describe(version, () => {
    const fresh = (tail = '') => `js-${randomUUID()}${tail}`;
    const withClient = (work, options) => async () => {
      const client = sdk(options);
      try {
        await work(client);
      } finally {
        await client.close();
      }
    };

    test('the pair opens the project', withClient(async (client) => {
      const { data } = await client.projects();
      assert.deepEqual(data.map(({ id, name }) => [id, name]), [['sdk-tests', 'SDK tests']]);
      assert.equal((await client.health()).status, 'OK');
    }));

    test('what is no pair is refused', async () => {
      for (const pair of [{ secretKey: 'sk-lf-wrong' }, { publicKey: 'pk-lf-wrong' }]) {
        const client = sdk(pair);
        await assert.rejects(async () => client.projects(), (error) => (error.statusCode ?? error.response?.status ?? error.status) === 401);
        await client.close();
      }
    });

    test('a prompt is had by label and version', withClient(async (client) => {
      const name = fresh();
      const config = { temperature: 0.5, nested: { a: [1] } };
      await client.create({ name, prompt: 'Say {{what}}', labels: ['production'], tags: ['greeting'], config, commitMessage: 'the first' });
      assert.equal((await client.create({ name, prompt: 'Shout {{what}}', labels: ['staging'] })).version, 2);
      const production = await client.get(name);
      assert.deepEqual([production.version, production.prompt, production.type], [1, 'Say {{what}}', 'text']);
      assert.deepEqual([production.config, production.tags, production.commitMessage], [config, ['greeting'], 'the first']);
      assert.equal((await client.get(name, { label: 'latest' })).version, 2);
      assert.equal((await client.get(name, { label: 'staging' })).version, 2);
      assert.equal((await client.get(name, { version: 1 })).compile({ what: 'hi' }), 'Say hi');
      await assert.rejects(async () => client.get(name, { label: 'nothing', maxRetries: 0 }));
    }));

    test('labels move to the version that they are given to', withClient(async (client) => {
      for (const name of [fresh(), fresh('/in/folders'), fresh(' ŻÓŁĆ?&')]) {
        for (const prompt of ['one', 'two']) await client.create({ name, prompt, labels: ['production'] });
        assert.equal((await client.get(name, { cacheTtlSeconds: 0 })).prompt, 'two');
        await client.update({ name, version: 1, newLabels: ['production', 'rollback'] });
        assert.equal((await client.get(name, { cacheTtlSeconds: 0 })).prompt, 'one');
        assert.equal((await client.get(name, { label: 'rollback' })).version, 1);
      }
    }));

    test('a text is compiled', withClient(async (client) => {
      const name = fresh();
      await client.create({ name, prompt: 'Dear {{name}} <b>&amp;" {{missing}}|{{#list}}({{.}}){{/list}}', labels: ['production'] });
      const compiled = (await client.get(name)).compile({ name: 'Ada & <Żółw>', list: ['a', 'b'] });
      assert.equal(compiled, 'Dear Ada & <Żółw> <b>&amp;" |(a)(b)');
    }));

    test('a chat is compiled with its placeholders', withClient(async (client) => {
      const name = fresh();
      await client.create({ name, type: 'chat', prompt: CHAT, labels: ['production'] });
      const prompt = await client.get(name, { type: 'chat' });
      const history = [{ role: 'user', content: 'hey' }, { role: 'assistant', content: 'hi' }];
      const compiled = prompt.compile({ user: 'Ada', question: 'Why?' }, { history });
      assert.deepEqual(compiled.map(({ role, content }) => [role, content]), [
        ['system', 'You help Ada.'], ['user', 'hey'], ['assistant', 'hi'], ['user', 'Why?'],
      ]);
      const unresolved = prompt.compile({ user: 'Ada', question: 'Why?' });
      assert.ok(unresolved.some(({ type, name: placeholder }) => type === 'placeholder' && placeholder === 'history'));
    }));

    test('prompts are listed', withClient(async (client) => {
      const tag = fresh();
      for (const n of [0, 1, 2]) await client.create({ name: `${tag}-${n}`, prompt: 'x', labels: ['production'], tags: [tag] });
      const { data, meta } = await client.list({ tag, limit: 2, page: 2 });
      assert.deepEqual([data.length, meta.totalItems, meta.totalPages, meta.page], [1, 3, 2, 2]);
    }));

    test('a prompt stays when the server is down', withClient(async (client) => {
      const name = fresh();
      await client.create({ name, prompt: 'Say {{what}}', labels: ['production'] });
      const between = await relay(PRIVET_URL);
      const cut = sdk({ baseUrl: between.url });
      assert.equal((await cut.get(name)).compile({ what: 'hi' }), 'Say hi');
      await between.cut();
      assert.equal((await cut.get(name)).compile({ what: 'hi' }), 'Say hi', 'from the cache');
      const fallback = await cut.get(fresh(), { fallback: 'Mumble {{what}}', maxRetries: 0, fetchTimeoutMs: 2_000 });
      assert.deepEqual([fallback.isFallback, fallback.compile({ what: 'hi' })], [true, 'Mumble hi']);
      await cut.close();
    }));
  });
}

test('@langfuse/client deletes versions and whole prompts', async () => {
  const client = SDKS['@langfuse/client 5']();
  const name = `js-${randomUUID()}/deleted`;
  for (const prompt of ['one', 'two']) await client.create({ name, prompt, labels: ['production'] });
  await client.remove(name, { version: 2 });
  assert.equal((await client.get(name, { label: 'latest', cacheTtlSeconds: 0 })).prompt, 'one');
  await client.remove(name);
  await assert.rejects(async () => client.get(name, { label: 'latest', maxRetries: 0 }));
  await client.close();
});
