// Answers of the server that this page came from.

import { Problem } from "/page/latest.js";

let key = ""; // in memory only: gone when the page is closed

export function useKey(text) {
  key = text;
}

const WORDS = {
  0: "The server does not answer.",
  401: "The server needs an API key.",
  422: "The model cannot answer this.",
  429: "The server is busy.",
  503: "The server cannot answer now.",
  504: "The model took too long.",
};

/** The JSON answer of a route; `body` makes it a POST. Throws `Problem`, or an AbortError where `signal` says so. */
export async function askServer(path, { body, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  const request = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal };
  let response, text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, WORDS[0]);
  }
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new Problem(response.status, `The server answered with status ${response.status} and no JSON.`);
  }
  if (!response.ok) {
    const wait = response.headers.get("Retry-After");
    const parts = [WORDS[response.status], `${answer.error ?? answer.status}.`];
    if (wait) parts.push(`Try again in ${wait} s.`);
    throw new Problem(response.status, parts.filter(Boolean).join(" "));
  }
  return answer;
}
