// OpenAI's client for JavaScript against the gateway, as an application uses it.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { run } from "./steps.mjs";

const { AI_URL: baseURL, AI_TOKEN: apiKey } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });

const user = (content) => [{ role: "user", content }];
const ask = (text, more = {}) =>
  client.chat.completions.create({ model: "gpt-4o", messages: user(text), ...more });

const collect = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};

const steps = {
  async "a chat is answered with its usage"() {
    const answer = await ask("hello");
    assert.equal(answer.choices[0].message.content, "Hello! How can I help you today?");
    assert.equal(answer.usage.completion_tokens, 10);
  },

  async "a stream has the text and no usage that nobody asked for"() {
    const chunks = await collect(await ask("hello", { stream: true }));
    const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
    assert.equal(text, "Hello! How can I help you today?");
    assert.ok(chunks.every((chunk) => !chunk.usage));
  },

  async "a stream has the usage that was asked for"() {
    const more = { stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await ask("hello", more));
    assert.equal(chunks.at(-1).usage.completion_tokens, 10);
  },

  async "a tool is called and its result is read"() {
    const parameters = { type: "object", properties: { city: { type: "string" } } };
    const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
    const messages = user("How is the weather?");
    const first = await client.chat.completions.create({ model: "gpt-4o", messages, tools });
    const call = first.choices[0].message.tool_calls[0];
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
    messages.push(first.choices[0].message);
    messages.push({ role: "tool", tool_call_id: call.id, content: "sunny" });
    const second = await client.chat.completions.create({ model: "gpt-4o", messages, tools });
    assert.equal(second.choices[0].message.content, "It is sunny in Paris.");
  },

  async "embeddings are made"() {
    const answer = await client.embeddings.create({
      model: "text-embedding-3-small",
      input: ["a", "b"],
    });
    assert.equal(answer.data.length, 2);
  },

  async "responses are answered and streamed"() {
    const answer = await client.responses.create({ model: "gpt-4o", input: "hello" });
    assert.match(answer.output_text, /^Hello!/);
    const stream = await client.responses.create({ model: "gpt-4o", input: "hello", stream: true });
    const events = await collect(stream);
    assert.equal(events.at(-1).type, "response.completed");
  },

  async "the models are listed"() {
    const ids = (await collect(await client.models.list())).map((model) => model.id);
    assert.ok(ids.includes("small") && ids.includes("gemini-2.5-flash"), ids.join());
  },

  async "every refusal is the exception that it should be"() {
    const chat = (over) => ({ model: "gpt-4o", messages: user("hello"), ...over });
    const create = (body, by = client) => () => by.chat.completions.create(body);
    const stranger = new OpenAI({ baseURL, apiKey: "nobody", maxRetries: 0 });
    for (const [kind, code, call] of [
      [OpenAI.NotFoundError, "model_not_found", create(chat({ model: "nosuchmodel" }))],
      [OpenAI.AuthenticationError, "token_malformed", create(chat({}), stranger)],
      [OpenAI.BadRequestError, "body_malformed", create(chat({ n: -1 }))],
      [OpenAI.RateLimitError, "rate_limit_exceeded", create(chat({ messages: user("too much") }))],
      [OpenAI.InternalServerError, undefined, create(chat({ messages: user("break") }))],
    ]) {
      await assert.rejects(call, (error) => {
        assert.ok(error instanceof kind, `expected ${kind.name}, found ${error}`);
        assert.equal(error.code ?? undefined, code);
        return true;
      });
    }
  },

  async "a stream can be left"() {
    const stream = await ask("tell me a long story", { stream: true });
    for await (const chunk of stream) {
      assert.ok(chunk.choices);
      break;
    }
    stream.controller.abort();
  },
};

await run(steps);
