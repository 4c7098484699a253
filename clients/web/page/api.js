// Calls to the desk: plain fetch, typed errors, and an answer that survives a cut connection.

/** An error that the desk (or the gateway) gave: a google.rpc.Status with its reason. */
export class DeskError extends Error {
  constructor(status, httpStatus) {
    super(status.message || `The desk answered ${httpStatus}.`);
    this.httpStatus = httpStatus;
    this.reason = (status.details ?? []).find((detail) => detail.reason)?.reason ?? "";
    this.retryAfter = (status.details ?? []).find((detail) => detail.retryDelay)?.retryDelay ?? "";
    this.details = status.details ?? [];
  }

  /** Whether the same call may work a moment later. */
  get passing() {
    return [502, 503, 504].includes(this.httpStatus);
  }
}

export class Desk {
  /** `renew` fetches a new token when the present one is refused, or returns null. */
  constructor(token, renew) {
    this.token = token;
    this.renew = renew;
  }

  /** POST (or GET without a body) and the JSON answer; throws DeskError. */
  async call(path, body) {
    return (await this.#fetch(path, body)).json();
  }

  /** GET of a stream; read it with eventsOf. Throws DeskError. */
  open(path) {
    return this.#fetch(path);
  }

  /**
   * Sends a message and yields the run's events in order, each once, until its terminal event. A cut connection is
   * resumed after the last event seen; before the first one, sending again with the same id attaches to the same run.
   */
  async *send(conversation, text, id, onCut) {
    const message = { text, clientMessageId: id };
    let run = "";
    let seq = 0;
    for (let failures = 0; ; failures += 1) {
      let wait = Math.min(8000, 500 * 2 ** failures);
      try {
        const response = run
          ? await this.#fetch(`/v1/${run}:resume?after_seq=${seq}`)
          : await this.#fetch(`/v1/${conversation}:send`, message);
        for await (const event of eventsOf(response)) {
          run = event.run || run;
          if (event.reconnect) {
            wait = 1000 * Number.parseFloat(event.reconnect.delay ?? "0");
            failures = -1;
            break;
          }
          if (event.heartbeat) continue;
          const position = Number(event.seq);
          if (position <= seq) continue;
          seq = position;
          failures = 0;
          yield event;
          if (event.completed || event.cancelled || event.interrupted || event.failed) return;
        }
      } catch (error) {
        const networkFailed = error instanceof TypeError;
        if (!networkFailed && !(error instanceof DeskError && error.passing)) throw error;
      }
      if (failures >= 6) throw new TypeError("the answer was cut too often");
      onCut();
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }

  /**
   * Yields what happens in a conversation from now on (or from `cursor`), each once and in order, until `signal` aborts.
   * The first event is a heartbeat. A cut connection goes on from the last event seen.
   */
  async *watch(conversation, signal, onCut) {
    let cursor = "";
    for (let failures = 0; !signal.aborted; failures += 1) {
      let wait = Math.min(15000, 500 * 2 ** failures);
      try {
        const response = await this.#fetch(`/v1/${conversation}:watch?cursor=${encodeURIComponent(cursor)}`, undefined, true, signal);
        for await (const event of eventsOf(response)) {
          cursor = event.cursor || cursor;
          failures = 0;
          if (event.reconnect) {
            wait = 1000 * Number.parseFloat(event.reconnect.delay ?? "0");
            failures = -1;
            break;
          }
          yield event;
        }
      } catch (error) {
        if (signal.aborted) return;
        const networkFailed = error instanceof TypeError;
        if (!networkFailed && !(error instanceof DeskError && error.passing)) throw error;
      }
      if (failures > 0) onCut();
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }

  async #fetch(path, body, again = true, signal = undefined) {
    const headers = { authorization: `Bearer ${this.token}` };
    if (body !== undefined) headers["content-type"] = "application/json";
    const method = body === undefined ? "GET" : "POST";
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal });
    if (response.ok) return response;
    if (response.status === 401 && again) {
      const token = await this.renew();
      if (token) {
        this.token = token;
        return this.#fetch(path, body, false, signal);
      }
    }
    throw new DeskError(await response.json().catch(() => ({})), response.status);
  }
}

/** The JSON of each `data:` line of a stream, as it arrives. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
    }
  } finally {
    reader.cancel().catch(() => undefined); // cut already: nothing is left to cancel
  }
}

/** A random id; crypto.randomUUID exists on https and localhost only. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
