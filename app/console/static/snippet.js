// The request of an answer as a program: curl, Python, JavaScript. The key itself never stands in it.

import { announce, h } from "./element.js";

const METHODS = {
  "/v1/chat/completions": "chat.completions.create",
  "/v1/responses": "responses.create",
  "/v1/embeddings": "embeddings.create",
  "/v1/images/generations": "images.generate",
  "/v1/audio/transcriptions": "audio.transcriptions.create",
  "/v1/audio/speech": "audio.speech.create",
};

/** "Copy as", with the code that was copied. `request` has path, body and, where it sends one, the name of a file. */
export function snippet(request) {
  const code = h("pre", { hidden: true, tabindex: "0", "aria-label": "Code" });
  const languages = { curl, Python: python, JavaScript: javascript };
  const buttons = Object.entries(languages).map(([name, write]) => {
    const button = h("button", { type: "button", class: "quiet", "aria-pressed": "false" }, name);
    button.addEventListener("click", () => {
      const again = button.getAttribute("aria-pressed") === "true";
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === button && !again));
      code.hidden = again;
      if (again) return;
      code.textContent = write(shortened(request));
      copy(code, name);
    });
    return button;
  });
  return h("div", { class: "snippet" }, h("div", { class: "buttons" }, "Copy as", buttons), code);
}

async function copy(code, name) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    announce(`Copied as ${name}.`);
  } catch {
    getSelection().selectAllChildren(code); // not on https or localhost: it is selected instead
    announce(`The ${name} code is selected. Copy it with your keyboard.`);
  }
}

/** Images in base64 would bury the rest. */
function shortened(request) {
  const body = JSON.parse(JSON.stringify(request.body), (_, value) =>
    typeof value === "string" && value.startsWith("data:image/") ? value.replace(/,.*/s, ",BASE64_OF_YOUR_IMAGE") : value,
  );
  return { ...request, body };
}

function curl({ path, body, file }) {
  const head = `curl --no-buffer ${location.origin}${path} \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"`;
  if (file) {
    const fields = Object.entries(body).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
    return [head, `-F file=@${shell(file)}`, ...fields.map(([name, value]) => `-F ${shell(`${name}=${value}`)}`)].join(
      " \\\n  ",
    );
  }
  const output = path === "/v1/audio/speech" ? ` \\\n  --output speech.${body.response_format}` : "";
  return `${head} \\\n  -H "Content-Type: application/json" \\\n  -d ${shell(JSON.stringify(body, null, 2))}${output}`;
}

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function python({ path, body, file }) {
  const client = `from openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1")  # OPENAI_API_KEY is your key\n\n`;
  const given = Object.entries(body).map(([name, value]) => `${withoutList(name)}=${pythonValue(value, 1)}`);
  if (file) given.unshift(`file=open(${JSON.stringify(file)}, "rb")`);
  const call = (method) => `client.${method}(\n${given.map((one) => `    ${one},\n`).join("")})`;
  return client + PYTHON_ENDINGS[path](call, body);
}

const PYTHON_ENDINGS = {
  "/v1/chat/completions": (call) =>
    `stream = ${call("chat.completions.create")}\nfor chunk in stream:\n    if chunk.choices:\n` +
    '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n',
  "/v1/responses": (call) =>
    `stream = ${call("responses.create")}\nfor event in stream:\n    if event.type == "response.output_text.delta":\n` +
    '        print(event.delta, end="", flush=True)\n',
  "/v1/embeddings": (call) =>
    `answer = ${call("embeddings.create")}\nprint([len(one.embedding) for one in answer.data])\n`,
  "/v1/images/generations": (call) =>
    `import base64\n\nstream = ${call("images.generate")}\nfor event in stream:\n` +
    '    if event.type == "image_generation.completed":\n' +
    '        open("image.png", "wb").write(base64.b64decode(event.b64_json))\n',
  "/v1/audio/transcriptions": (call) =>
    `answer = ${call("audio.transcriptions.create")}\nfor segment in answer.segments:\n` +
    "    print(segment.start, segment.end, segment.text)\n",
  "/v1/audio/speech": (call, body) =>
    `with ${call("audio.speech.with_streaming_response.create")} as answer:\n` +
    `    answer.stream_to_file("speech.${body.response_format}")\n`,
};

const withoutList = (name) => name.replace("[]", "");

function pythonValue(value, depth) {
  const [here, inner] = ["    ".repeat(depth), "    ".repeat(depth + 1)];
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const items = Array.isArray(value)
    ? value.map((one) => pythonValue(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${pythonValue(one, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length < 90 && !short.includes("\n")) return short;
  return `${open}\n${items.map((one) => `${inner}${one},\n`).join("")}${here}${close}`;
}

function javascript({ path, body, file }) {
  const files = file || path.startsWith("/v1/images") || path.endsWith("/speech") ? 'import fs from "node:fs";\n' : "";
  const client =
    `${files}import OpenAI from "openai";\n\n` +
    `const client = new OpenAI({ baseURL: "${location.origin}/v1" }); // OPENAI_API_KEY is your key\n\n`;
  const given = Object.fromEntries(Object.entries(body).map(([name, value]) => [withoutList(name), value]));
  let text = JSON.stringify(given, null, 2).replace(/^( +)"([A-Za-z_]\w*)":/gm, "$1$2:");
  if (file) text = text.replace("{\n", `{\n  file: fs.createReadStream(${JSON.stringify(file)}),\n`);
  return client + JAVASCRIPT_ENDINGS[path](`await client.${METHODS[path]}(${text})`, body);
}

const JAVASCRIPT_ENDINGS = {
  "/v1/chat/completions": (call) =>
    `const stream = ${call};\nfor await (const chunk of stream) {\n` +
    '  process.stdout.write(chunk.choices[0]?.delta.content ?? "");\n}\n',
  "/v1/responses": (call) =>
    `const stream = ${call};\nfor await (const event of stream) {\n` +
    '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);\n}\n',
  "/v1/embeddings": (call) =>
    `const answer = ${call};\nconsole.log(answer.data.map((one) => one.embedding.length));\n`,
  "/v1/images/generations": (call) =>
    `const stream = ${call};\nfor await (const event of stream) {\n` +
    '  if (event.type === "image_generation.completed") {\n' +
    '    fs.writeFileSync("image.png", Buffer.from(event.b64_json, "base64"));\n  }\n}\n',
  "/v1/audio/transcriptions": (call) =>
    `const answer = ${call};\nfor (const one of answer.segments) console.log(one.start, one.end, one.text);\n`,
  "/v1/audio/speech": (call, body) =>
    `const answer = ${call};\nfs.writeFileSync("speech.${body.response_format}", Buffer.from(await answer.arrayBuffer()));\n`,
};
