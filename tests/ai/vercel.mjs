// Vercel's AI SDK against the gateway, as an application uses it.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { run } from "./steps.mjs";

const { AI_URL: baseURL, AI_TOKEN: apiKey } = process.env;
const openai = createOpenAI({ baseURL, apiKey });
const model = openai.chat("gpt-4o");
const maxRetries = 0;

const steps = {
  async "a text is made, with its usage"() {
    const { text, usage } = await generateText({ model, prompt: "hello", maxRetries });
    assert.equal(text, "Hello! How can I help you today?");
    assert.deepEqual([usage.inputTokens, usage.outputTokens], [19, 10]);
  },

  async "a text is streamed"() {
    let text = "";
    for await (const part of streamText({ model, prompt: "hello", maxRetries }).textStream) text += part;
    assert.equal(text, "Hello! How can I help you today?");
  },

  async "a tool is called and its result is read"() {
    const cities = [];
    const get_weather = tool({
      inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
      execute: async ({ city }) => (cities.push(city), "sunny"),
    });
    const { text } = await generateText({
      model,
      tools: { get_weather },
      stopWhen: stepCountIs(2),
      prompt: "How is the weather?",
      maxRetries,
    });
    assert.deepEqual([cities, text], [["Paris"], "It is sunny in Paris."]);
  },

  async "embeddings are made"() {
    const embedding = openai.embedding("text-embedding-3-small");
    const { embeddings } = await embedMany({ model: embedding, values: ["a", "b"], maxRetries });
    assert.equal(embeddings.length, 2);
  },

  async "an unknown model is an error of the API"() {
    const unknown = generateText({ model: openai.chat("nosuchmodel"), prompt: "hello", maxRetries });
    await assert.rejects(unknown, (error) => {
      assert.ok(APICallError.isInstance(error), String(error));
      assert.equal(error.statusCode, 404);
      return /does not exist/.test(error.message);
    });
  },
};

await run(steps);
