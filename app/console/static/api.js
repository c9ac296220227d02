// Requests to the service, with the key of this tab.

import { readKey } from "./session.js";

/** A request that was refused, or that broke. */
export class Failure extends Error {
  constructor(message, { status = 0, code = null, requestId = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId });
  }
}

/** The response to a request; `body` is JSON, or a form with a file. Throws Failure. */
export async function call(path, { body, signal, key = readKey() } = {}) {
  const headers = { authorization: `Bearer ${key}` };
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: isForm || body === undefined ? body : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The service does not answer. Is it running?");
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

async function failureOf(response) {
  const facts = { status: response.status, requestId: response.headers.get("x-request-id") };
  try {
    const { error } = await response.json();
    return new Failure(error.message, { ...facts, code: error.code });
  } catch {
    return new Failure(`The service answered ${response.status}.`, facts);
  }
}

/** The models that the key may use, and the routes that there are. */
export const directory = async () => (await call("/console/data/models")).json();
export const ownKey = async (options) => (await call("/console/data/key", options)).json();
