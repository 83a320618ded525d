// The official Node SDK against a running gateway. test_node_sdk.py starts both and says where by these:
//   TUNEGATE_BASE_URL, TUNEGATE_KEY (may use all), TUNEGATE_NARROW_KEY (may use the alias `support` only),
//   TUNEGATE_MODEL (an ft: id)
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { TUNEGATE_BASE_URL, TUNEGATE_KEY, TUNEGATE_NARROW_KEY, TUNEGATE_MODEL } = process.env;
const messages = [{ role: "user", content: "Say four words." }];
const text = "Four words from afar";
const usage = { prompt_tokens: 9, completion_tokens: 4, total_tokens: 13 };

// Without retries: a test of an error wants the first answer.
const client = (apiKey = TUNEGATE_KEY) => new OpenAI({ baseURL: TUNEGATE_BASE_URL, apiKey, maxRetries: 0 });

const ask = (model, key) => client(key).chat.completions.create({ model, messages });

async function read(stream, seen = []) {
  for await (const chunk of stream) seen.push(chunk);
  return seen;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");

// Asserts the class and the four facts that a caller can act on.
async function fails(promise, kind, status, code, type) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.constructor, kind, String(error));
    assert.deepEqual([error.status, error.code, error.type], [status, code, type]);
    assert.ok(error.requestID, "an error names its request");
    return true;
  });
}

test("a JSON answer, with what served it in the headers", async () => {
  const { data, response } = await client().chat.completions.create({ model: TUNEGATE_MODEL, messages }).withResponse();
  assert.equal(data.choices[0].message.content, text);
  assert.deepEqual(data.usage, usage);
  assert.equal(data._request_id, response.headers.get("x-request-id"));
  assert.equal(response.headers.get("x-tunegate-upstream"), "relay");
  assert.equal(response.headers.get("x-tunegate-model"), TUNEGATE_MODEL);
});

test("a stream by alias", async () => {
  const chunks = await read(await client().chat.completions.create({ model: "support", messages, stream: true }));
  assert.equal(textOf(chunks), text);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("the SDK's own stream helper", async () => {
  const runner = client().chat.completions.stream({ model: "support", messages });
  assert.equal((await runner.finalChatCompletion()).choices[0].message.content, text);
});

test("the list of models names the alias", async () => {
  const ids = (await read(await client().models.list())).map((model) => model.id);
  assert.ok(ids.includes("support"), String(ids));
  assert.equal((await client().models.retrieve("support")).id, "support");
});

test("a bad key", () =>
  fails(ask("support", "tg-000000000000-wrong"), OpenAI.AuthenticationError, 401, "invalid_api_key", "invalid_request_error"));

test("a model that nobody has", () =>
  fails(ask("no-such-model"), OpenAI.NotFoundError, 404, "model_not_found", "invalid_request_error"));

test("a model that the upstream lost", () =>
  fails(ask("relay-gone"), OpenAI.NotFoundError, 404, "model_not_found", "invalid_request_error"));

test("a model that the key may not use", () =>
  fails(ask("relay-x", TUNEGATE_NARROW_KEY), OpenAI.PermissionDeniedError, 403, "model_not_allowed", "invalid_request_error"));

test("a body of the wrong type", () =>
  fails(client().chat.completions.create({ model: 7, messages }), OpenAI.BadRequestError, 400, null, "invalid_request_error"));

test("an upstream that limits the rate", async () => {
  await assert.rejects(ask("relay-busy"), (error) => error.constructor === OpenAI.RateLimitError && error.status === 429);
});

test("an upstream that does not answer the door", () =>
  fails(ask("closed"), OpenAI.InternalServerError, 502, "upstream_error", "server_error"));

test("a stream that breaks off throws after the text that came", async () => {
  const seen = [];
  const stream = await client().chat.completions.create({ model: "relay-cut", messages, stream: true });
  await assert.rejects(read(stream, seen), (error) => error.constructor === OpenAI.APIError && error.code === "stream_truncated");
  assert.equal(textOf(seen), "Four words");
});
