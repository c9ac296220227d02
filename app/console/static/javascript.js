// A request as a program in JavaScript, with OpenAI's package.

export function javascript({ path, body, files }) {
  const { method, ending } = ROUTES[path];
  const given = Object.fromEntries(Object.entries(body).map(([name, value]) => [name.replace("[]", ""), value]));
  let text = JSON.stringify(given, null, 2).replace(/^( +)"([A-Za-z_]\w*)":/gm, "$1$2:");
  const streams = files.map(([name, file]) => `  ${name}: fs.createReadStream(${JSON.stringify(file)}),\n`);
  text = text.replace("{\n", `{\n${streams.join("")}`);
  const program = ending(method ? `await client.${method}(${text})` : text, body);
  const imports = program.includes("fs.") ? 'import fs from "node:fs";\n' : "";
  return (
    `${imports}import OpenAI from "openai";\n\n` +
    `const client = new OpenAI({ baseURL: "${location.origin}/v1" }); // OPENAI_API_KEY is your key\n\n${program}`
  );
}

const saveStream = (kind) => (call) =>
  `const stream = ${call};\nfor await (const event of stream) {\n  if (event.type === "${kind}.completed") {\n` +
  '    fs.writeFileSync("image.png", Buffer.from(event.b64_json, "base64"));\n  }\n}\n';
const printSegments = (call) => `const answer = ${call};\nfor (const one of answer.segments) console.log(one.start, one.end, one.text);\n`;

// By path: the method, and what to do with its answer.
const ROUTES = {
  "/v1/chat/completions": {
    method: "chat.completions.create",
    ending: (call) =>
      `const stream = ${call};\nfor await (const chunk of stream) {\n` +
      '  process.stdout.write(chunk.choices[0]?.delta.content ?? "");\n}\n',
  },
  "/v1/responses": {
    method: "responses.create",
    ending: (call) =>
      `const stream = ${call};\nfor await (const event of stream) {\n` +
      '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);\n}\n',
  },
  "/v1/completions": {
    method: "completions.create",
    ending: (call) =>
      `const stream = ${call};\nfor await (const chunk of stream) {\n  process.stdout.write(chunk.choices[0]?.text ?? "");\n}\n`,
  },
  "/v1/embeddings": {
    method: "embeddings.create",
    ending: (call) => `const answer = ${call};\nconsole.log(answer.data.map((one) => one.embedding.length));\n`,
  },
  "/v1/rerank": {
    // The package has no method for it.
    ending: (body) =>
      `const body = ${body};\nconst answer = await client.post("/rerank", { body });\n` +
      "for (const one of answer.results) console.log(one.relevance_score, body.documents[one.index]);\n",
  },
  "/v1/images/generations": { method: "images.generate", ending: saveStream("image_generation") },
  "/v1/images/edits": { method: "images.edit", ending: saveStream("image_edit") },
  "/v1/images/variations": {
    method: "images.createVariation",
    ending: (call) =>
      `const answer = ${call};\nfor (const [place, one] of answer.data.entries()) {\n` +
      '  fs.writeFileSync(`image-${place + 1}.png`, Buffer.from(one.b64_json, "base64"));\n}\n',
  },
  "/v1/audio/transcriptions": { method: "audio.transcriptions.create", ending: printSegments },
  "/v1/audio/translations": { method: "audio.translations.create", ending: printSegments },
  "/v1/audio/speech": {
    method: "audio.speech.create",
    ending: (call, body) =>
      `const answer = ${call};\nfs.writeFileSync("speech.${body.response_format}", Buffer.from(await answer.arrayBuffer()));\n`,
  },
};
