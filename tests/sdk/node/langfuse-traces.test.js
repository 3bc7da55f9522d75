// Langfuse's SDKs for JavaScript, unmodified: what they send is read back.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import { LangfuseClient } from '@langfuse/client';
import { LangfuseSpanProcessor } from '@langfuse/otel';
import { propagateAttributes, startActiveObservation, startObservation } from '@langfuse/tracing';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { Langfuse } from 'langfuse';

import { PRIVET_PUBLIC_KEY, PRIVET_SECRET_KEY, PRIVET_URL } from './surroundings.js';

const PAIR = { baseUrl: PRIVET_URL, publicKey: PRIVET_PUBLIC_KEY, secretKey: PRIVET_SECRET_KEY };
const MESSAGES = [{ role: 'user', content: 'hey' }];

const byName = (list) => Object.fromEntries(list.map((each) => [each.name, each]));

test('langfuse 3: the flow of the lesson is a trace with a generation of the prompt', async () => {
  const langfuse = new Langfuse(PAIR);
  const mark = randomUUID();
  const promptName = `Answer-${mark}`;
  await langfuse.createPrompt({ name: promptName, type: 'chat', prompt: [{ role: 'system', content: 'Today is {{date}}.' }], labels: ['production'] });
  const prompt = await langfuse.getPrompt(promptName, undefined, { type: 'chat' });
  const [system] = prompt.compile({ date: 'Monday' });
  assert.equal(system.content, 'Today is Monday.');

  const question = 'What is the weather in Oslo, and what should I wear tomorrow?';
  const trace = langfuse.trace({ name: question.slice(0, 45), sessionId: `session-${mark}`, userId: `ada-${mark}`, input: MESSAGES });
  const span = trace.span({ name: 'Main', input: MESSAGES });
  const generation = span.generation({ name: 'Answer', model: 'gpt-4o', modelParameters: { temperature: 0.2 }, input: [system, ...MESSAGES], prompt });
  generation.update({ completionStartTime: new Date() });
  generation.end({ output: { role: 'assistant', content: 'hi' }, usage: { promptTokens: 10, completionTokens: 5, totalTokens: 15 } });
  generation.score({ name: 'quality', value: 0.9, comment: 'good' });
  span.event({ name: 'clicked', input: 'button' });
  span.end({ output: 'hi' });
  trace.update({ output: 'hi', tags: ['lesson'] });
  trace.score({ name: 'helpful', value: 1, dataType: 'BOOLEAN' });
  await langfuse.flushAsync();

  const { data: read } = await langfuse.fetchTrace(trace.id);
  assert.deepEqual([read.name, read.sessionId, read.userId], [question.slice(0, 45), `session-${mark}`, `ada-${mark}`]);
  assert.deepEqual([read.input, read.output, read.tags], [MESSAGES, 'hi', ['lesson']]);
  const seen = byName(read.observations);
  assert.deepEqual(Object.entries(seen).map(([name, { type }]) => [name, type]).sort(), [
    ['Answer', 'GENERATION'], ['Main', 'SPAN'], ['clicked', 'EVENT'],
  ]);
  assert.equal(seen.Main.parentObservationId, null);
  assert.equal(seen.Answer.parentObservationId, span.id);
  assert.deepEqual([seen.Answer.promptName, seen.Answer.promptVersion, seen.Answer.model], [promptName, 1, 'gpt-4o']);
  assert.deepEqual([seen.Answer.usage.input, seen.Answer.usage.output, seen.Answer.usage.total], [10, 5, 15]);
  assert.deepEqual(seen.Answer.output, { role: 'assistant', content: 'hi' });
  assert.ok(seen.Answer.completionStartTime && seen.Answer.endTime >= seen.Answer.startTime);
  const scores = byName(read.scores);
  assert.deepEqual([scores.quality.value, scores.quality.observationId, scores.helpful.value], [0.9, generation.id, 1]);

  assert.deepEqual((await langfuse.fetchTraces({ userId: `ada-${mark}` })).data.map(({ id }) => id), [trace.id]);
  const generations = await langfuse.fetchObservations({ traceId: trace.id, type: 'GENERATION' });
  assert.deepEqual(generations.data.map(({ id }) => id), [generation.id]);
  const sessions = await langfuse.fetchSessions({ limit: 100 });
  assert.ok(sessions.data.some(({ id }) => id === `session-${mark}`));
  await langfuse.shutdownAsync();
});

test('@langfuse/tracing 5: nested observations and scores are read back as they were sent', async () => {
  const mark = randomUUID();
  const processor = new LangfuseSpanProcessor({ ...PAIR, environment: 'staging', release: 'r-1' });
  const sdk = new NodeSDK({ spanProcessors: [processor], instrumentations: [] });
  sdk.start();
  const langfuse = new LangfuseClient(PAIR);
  const promptName = `Answer-${mark}`;
  await langfuse.prompt.create({ name: promptName, prompt: 'Say {{what}}', labels: ['production'] });
  const prompt = await langfuse.prompt.get(promptName);

  const sent = {};
  await startActiveObservation('request', async (root) => {
    sent.root = root;
    root.update({ input: { q: 'hey' }, metadata: { n: 3 } });
    const shared = { traceName: 'What is the weather?', userId: `ada-${mark}`, sessionId: `session-${mark}`, tags: ['alpha'], metadata: { plan: 'pro' } };
    await propagateAttributes(shared, async () => {
      const generation = startObservation('Answer', { model: 'gpt-4o', modelParameters: { temperature: 0.2 }, input: MESSAGES, prompt }, { asType: 'generation' });
      generation.update({ output: 'hi', usageDetails: { input: 10, output: 5, total: 15 }, costDetails: { total: 0.003 }, completionStartTime: new Date() }).end();
      sent.generation = generation;
      const agent = startObservation('agent', {}, { asType: 'agent' });
      agent.startObservation('search', { input: { x: 1 }, level: 'ERROR', statusMessage: 'boom' }, { asType: 'tool' }).end();
      agent.end();
      startObservation('clicked', { input: 'button' }, { asType: 'event' });
      langfuse.score.observation(generation, { name: 'quality', value: 0.9, comment: 'good' });
    });
    root.update({ output: 'done' });
    langfuse.score.trace(root, { name: 'helpful', value: 1, dataType: 'BOOLEAN' });
  });
  langfuse.score.create({ sessionId: `session-${mark}`, name: 'mood', value: 'happy', dataType: 'CATEGORICAL' });
  await langfuse.flush();
  await processor.forceFlush();

  const { traceId } = sent.root;
  const read = await langfuse.api.trace.get(traceId);
  assert.deepEqual([read.name, read.userId, read.sessionId], ['What is the weather?', `ada-${mark}`, `session-${mark}`]);
  assert.deepEqual([read.environment, read.release, read.tags, read.metadata.plan], ['staging', 'r-1', ['alpha'], 'pro']);
  const seen = byName(read.observations);
  assert.deepEqual(Object.entries(seen).map(([name, { type }]) => [name, type]).sort(), [
    ['Answer', 'GENERATION'], ['agent', 'AGENT'], ['clicked', 'EVENT'], ['request', 'SPAN'], ['search', 'TOOL'],
  ]);
  assert.deepEqual([seen.Answer.parentObservationId, seen.search.parentObservationId], [seen.request.id, seen.agent.id]);
  assert.deepEqual([seen.Answer.promptName, seen.Answer.promptVersion, seen.Answer.model], [promptName, 1, 'gpt-4o']);
  assert.deepEqual([seen.Answer.input, seen.Answer.output], [MESSAGES, 'hi']);
  assert.deepEqual(seen.Answer.usageDetails, { input: 10, output: 5, total: 15 });
  assert.deepEqual([seen.search.level, seen.search.statusMessage], ['ERROR', 'boom']);
  const scores = byName(read.scores);
  assert.deepEqual([scores.quality.value, scores.quality.observationId, scores.helpful.value], [0.9, sent.generation.id, 1]);

  const page = await langfuse.api.observations.getMany({ traceId, type: 'GENERATION', fields: 'core,basic,io,usage' });
  assert.deepEqual(page.data.map(({ name }) => name), ['Answer']);
  const ofSession = await langfuse.api.scores.getMany({ sessionId: `session-${mark}` });
  assert.deepEqual(ofSession.data.map(({ name, stringValue }) => [name, stringValue]), [['mood', 'happy']]);
  const session = await langfuse.api.sessions.get(`session-${mark}`);
  assert.deepEqual(session.traces.map(({ id }) => id), [traceId]);

  await langfuse.api.trace.delete(traceId);
  await assert.rejects(async () => langfuse.api.trace.get(traceId), (error) => error.statusCode === 404);
  await langfuse.shutdown();
  await sdk.shutdown();
});
