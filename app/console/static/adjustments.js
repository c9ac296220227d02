// X-Param-Adjustments in words.

/** What was changed in a request: one line a parameter. The header is an RFC 9651 List of tokens with parameters. */
export function adjustments(header) {
  return header ? members(header).map(words) : [];
}

function words(member) {
  const [name, ...rest] = split(member, ";");
  const parameters = Object.fromEntries(rest.map((one) => [before(one), unquoted(after(one))]));
  if (name === "and-more") return `and ${parameters.count} more`;
  if (parameters.action === "clamp") return `${name}: ${parameters.from} became ${parameters.to}`;
  if (parameters.action === "ignore") return `${name}: has no effect here`;
  return `${name}: dropped, ${parameters.reason ?? "not supported"}`;
}

const members = (header) => split(header, ",");
const before = (text) => text.slice(0, text.indexOf("="));
const after = (text) => text.slice(text.indexOf("=") + 1);
const unquoted = (text) => (text.startsWith('"') ? text.slice(1, -1).replace(/\\(.)/g, "$1") : text);

/** The parts of `text` between separators that stand outside of quotes. */
function split(text, separator) {
  const parts = text.match(separator === "," ? /(?:"(?:\\.|[^"\\])*"|[^",])+/g : /(?:"(?:\\.|[^"\\])*"|[^";])+/g);
  return (parts ?? []).map((part) => part.trim());
}
