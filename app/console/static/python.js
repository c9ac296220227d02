// A request as a program in Python, with OpenAI's package.

export function python({ path, body, files }) {
  const { imports = "", method, beyond = [], ending } = ROUTES[path];
  const known = Object.entries(body).filter(([name]) => !beyond.includes(name));
  const extra = Object.entries(body).filter(([name]) => beyond.includes(name));
  const given = [
    ...files.map(([name, file]) => `${name}=open(${JSON.stringify(file)}, "rb")`),
    ...known.map(([name, value]) => `${name.replace("[]", "")}=${valueOf(value, 1)}`),
    ...(extra.length ? [`extra_body=${valueOf(Object.fromEntries(extra), 1)}`] : []),
  ];
  const call = `client.${method}(\n${given.map((one) => `    ${one},\n`).join("")})`;
  const client = `${imports}from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1")  # OPENAI_API_KEY is your key\n\n`;
  return client + ending(method ? call : valueOf(body, 0), body);
}

const saveStream = (kind) => (call) =>
  `stream = ${call}\nfor event in stream:\n    if event.type == "${kind}.completed":\n` +
  '        open("image.png", "wb").write(base64.b64decode(event.b64_json))\n';
const printSegments = (call) => `answer = ${call}\nfor segment in answer.segments:\n    print(segment.start, segment.end, segment.text)\n`;

// By path: the method, parameters that it has no argument for, and what to do with its answer.
const ROUTES = {
  "/v1/chat/completions": {
    method: "chat.completions.create",
    ending: (call) =>
      `stream = ${call}\nfor chunk in stream:\n    if chunk.choices:\n` +
      '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n',
  },
  "/v1/responses": {
    method: "responses.create",
    ending: (call) =>
      `stream = ${call}\nfor event in stream:\n    if event.type == "response.output_text.delta":\n` +
      '        print(event.delta, end="", flush=True)\n',
  },
  "/v1/completions": {
    method: "completions.create",
    ending: (call) =>
      `stream = ${call}\nfor chunk in stream:\n    if chunk.choices:\n` +
      '        print(chunk.choices[0].text, end="", flush=True)\n',
  },
  "/v1/embeddings": {
    method: "embeddings.create",
    ending: (call) => `answer = ${call}\nprint([len(one.embedding) for one in answer.data])\n`,
  },
  "/v1/rerank": {
    imports: "import httpx\n", // the package has no method for it
    ending: (body) =>
      `request = ${body}\nanswer = client.post("/rerank", cast_to=httpx.Response, body=request).json()\n` +
      'for one in answer["results"]:\n    print(one["relevance_score"], request["documents"][one["index"]])\n',
  },
  "/v1/images/generations": {
    imports: "import base64\n\n",
    method: "images.generate",
    beyond: ["seed"],
    ending: saveStream("image_generation"),
  },
  "/v1/images/edits": {
    imports: "import base64\n\n",
    method: "images.edit",
    beyond: ["seed", "strength"],
    ending: saveStream("image_edit"),
  },
  "/v1/images/variations": {
    imports: "import base64\n\n",
    method: "images.create_variation",
    beyond: ["seed", "strength"],
    ending: (call) =>
      `answer = ${call}\nfor number, one in enumerate(answer.data, 1):\n` +
      '    open(f"image-{number}.png", "wb").write(base64.b64decode(one.b64_json))\n',
  },
  "/v1/audio/transcriptions": { method: "audio.transcriptions.create", ending: printSegments },
  "/v1/audio/translations": { method: "audio.translations.create", beyond: ["language"], ending: printSegments },
  "/v1/audio/speech": {
    method: "audio.speech.with_streaming_response.create",
    ending: (call, body) => `with ${call} as answer:\n    answer.stream_to_file("speech.${body.response_format}")\n`,
  },
};

function valueOf(value, depth) {
  const [here, inner] = ["    ".repeat(depth), "    ".repeat(depth + 1)];
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value)
    ? value.map((one) => valueOf(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${valueOf(one, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length < 90 && !short.includes("\n")) return short;
  return `${open}\n${items.map((one) => `${inner}${one},\n`).join("")}${here}${close}`;
}
