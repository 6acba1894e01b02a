// What the `openai` package for JavaScript makes of the gateway, as one JSON object on standard output.
import OpenAI from "openai";

const [, , baseURL, apiKey] = process.argv;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const found = {};

found.models = (await client.models.list()).data.map((model) => model.id);

const chat = await client.chat.completions.create({
  model: "fake",
  messages,
  n: 2,
  seed: 1,
  stop: ["zzz"],
  logprobs: true,
  top_logprobs: 2,
});
found.chat = chat.choices.map((choice) => choice.message.content);
found.logprobs = chat.choices[0].logprobs.content.map((entry) => entry.top_logprobs.length);
found.usage = chat.usage.total_tokens - chat.usage.prompt_tokens;

let streamed = "";
for await (const chunk of await client.chat.completions.create({
  model: "fake",
  messages,
  stream: true,
  stream_options: { include_usage: true },
})) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  found.finish = chunk.choices[0]?.finish_reason ?? found.finish;
  found.streamedUsage = chunk.usage?.completion_tokens ?? found.streamedUsage;
}
found.streamed = streamed;

const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"] };
const formatted = await client.chat.completions.create({
  model: "fake",
  messages,
  response_format: { type: "json_schema", json_schema: { name: "x", schema, strict: true } },
});
found.formatted = formatted.choices[0].message.content;

const text = await client.completions.create({ model: "fake", prompt: "x = ", suffix: "\n", max_tokens: 2 });
found.text = [text.choices[0].text, text.choices[0].finish_reason];

found.errors = [];
for (const fields of [{ model: "none" }, { model: "fake", temperature: 9 }]) {
  try {
    await client.chat.completions.create({ messages, ...fields });
  } catch (error) {
    found.errors.push([error.constructor.name, error.status, error.code, error.param]);
  }
}
try {
  await new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list();
} catch (error) {
  found.errors.push([error.constructor.name, error.status, error.code, error.param]);
}

console.log(JSON.stringify(found));
