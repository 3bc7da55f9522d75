// Where the server and its mock upstream are, and how to script the mock.
//
// PRIVET_URL, PRIVET_KEY and MOCK_URL come from the environment, and PRIVET_PUBLIC_KEY and PRIVET_SECRET_KEY, the pair for
// Langfuse's SDKs. With PRIVET_MODEL_PREFIX="" the model names carry no provider,
// so that openai.test.js can be run against the mock itself (PRIVET_URL = MOCK_URL).

import OpenAI from 'openai';

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value.replace(/\/$/, '');
};

export const PRIVET_URL = required('PRIVET_URL');
export const PRIVET_KEY = required('PRIVET_KEY');
export const PRIVET_PUBLIC_KEY = process.env.PRIVET_PUBLIC_KEY ?? '';
export const PRIVET_SECRET_KEY = process.env.PRIVET_SECRET_KEY ?? '';
const MOCK_URL = required('MOCK_URL');
const PREFIXED = process.env.PRIVET_MODEL_PREFIX !== '';

// Each provider with a model of its own that nothing is scripted for.
export const PROVIDERS = { openai: 'gpt-4o-mini', anthropic: 'claude-sonnet-4-5', gemini: 'gemini-2.5-flash' };

export const DEFAULT_CONTENT = 'The mock upstream answers every question with this sentence.';

export const QUESTION = [{ role: 'user', content: 'What is the weather in Oslo?' }];

// No retries: a test sees the first answer.
export const client = new OpenAI({ baseURL: `${PRIVET_URL}/v1`, apiKey: PRIVET_KEY, maxRetries: 0, timeout: 60_000 });

export const modelName = (provider, model) => (PREFIXED ? `${provider}/${model}` : model);

/** A JSON call past the SDK. */
export async function call(url, { body, key } = {}) {
  const headers = { 'content-type': 'application/json' };
  if (key) headers.authorization = `Bearer ${key}`;
  const reply = await fetch(url, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
  if (!reply.ok) throw new Error(`${url}: ${reply.status} ${await reply.text()}`);
  return reply.json();
}

/** Tells the mock what to answer, by the model's name, which is a test's own. */
export const script = (model, behaviour, { once = false } = {}) =>
  call(`${MOCK_URL}/script`, { body: { model, once, behaviour } });

/** What the provider was asked with this model, the oldest first. */
export async function requests(model) {
  const sent = await call(`${MOCK_URL}/requests`);
  return sent.filter(({ body, path }) => body?.model === model || path.includes(`/models/${model}:`));
}

/** Text, tool calls by index, finish reasons and usages of a stream. */
export async function collect(stream) {
  const all = { text: '', calls: new Map(), finishes: [], usages: [], chunks: [] };
  for await (const chunk of stream) {
    all.chunks.push(chunk);
    if (chunk.usage) all.usages.push(chunk.usage);
    for (const { delta, finish_reason: finish } of chunk.choices) {
      all.text += delta.content ?? '';
      if (finish) all.finishes.push(finish);
      for (const part of delta.tool_calls ?? []) {
        const known = all.calls.get(part.index) ?? { id: part.id, name: '', arguments: '' };
        known.name += part.function?.name ?? '';
        known.arguments += part.function?.arguments ?? '';
        all.calls.set(part.index, known);
      }
    }
  }
  return all;
}
