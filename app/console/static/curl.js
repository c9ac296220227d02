// A request as a command of curl.

export function curl({ path, body, files }) {
  const head = `curl --no-buffer ${location.origin}${path} \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"`;
  if (files.length) {
    const values = Object.entries(body).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
    const parts = [
      ...files.map(([name, file]) => `-F ${name}=@${shell(file)}`),
      ...values.map(([name, value]) => `-F ${shell(`${name}=${value}`)}`),
    ];
    return [head, ...parts].join(" \\\n  ");
  }
  const output = path === "/v1/audio/speech" ? ` \\\n  --output speech.${body.response_format}` : "";
  return `${head} \\\n  -H "Content-Type: application/json" \\\n  -d ${shell(JSON.stringify(body, null, 2))}${output}`;
}

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
