// What the models had to do while this page was open: the service itself keeps counts, not their past.

export const ROOM = 60; // looks
const series = new Map();

/** Take over one look at a model. Returns its series: how many wait, tokens a second, requests a minute. */
export function remember(model, now) {
  const found = series.get(model.id) ?? { last: null, waiting: [], tokens: [], requests: [] };
  const load = model.load;
  const seconds = found.last ? (now - found.last.at) / 1000 : 0;
  const rate = (name) => (load && found.last ? grown(load[name] - found.last.load[name]) / seconds : null);
  push(found.waiting, load ? load.waiting : null);
  push(found.tokens, rate("completion_tokens"));
  const requests = rate("requests");
  push(found.requests, requests === null ? null : requests * 60);
  if (load) found.last = { at: now, load };
  series.set(model.id, found);
  return found;
}

const grown = (number) => Math.max(0, number); // counts begin again with a gateway

function push(points, value) {
  points.push(value);
  if (points.length > ROOM) points.shift();
}
