// The conversation beside the answer that is being written: who speaks, and what others say in it.

import { happening, storedMessage } from "./view.js";

const CHANGES = {
  WAITING_FOR_STAFF: "A person has been asked for. The assistant is silent until then.",
  STAFF: "A member of staff answers now.",
  ASSISTANT: "The assistant answers again.",
};
const LOOK_AGAIN = 20000; // milliseconds between looks at the place in the queue

/** Follows one conversation on this page; every message is shown once, whoever brings it first. */
export class Thread {
  #desk;
  #log;
  #tell;
  #shown = new Set(); // names of messages, our own ids of messages, and runs that this page follows itself
  #stop = new AbortController();
  #timer = 0;

  /** `tell(conversation)` shows who speaks, `log` takes messages, `cut()` says that the connection was cut. */
  constructor(desk, name, { log, tell, cut, fail }) {
    this.#desk = desk;
    this.name = name;
    this.#log = log;
    this.#tell = tell;
    this.#follow(cut).catch((error) => this.#stop.signal.aborted || fail(error));
  }

  /** What this page shows by itself: an id of a message, or a run. */
  mine(key) {
    this.#shown.add(key);
  }

  leave() {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  /** Asks who speaks, and again while the place in the queue may change. */
  async look(found = null) {
    clearTimeout(this.#timer);
    const conversation = found ?? (await this.#desk.call(`/v1/${this.name}`));
    if (this.#stop.signal.aborted) return;
    this.#tell(conversation);
    if (conversation.controller === "WAITING_FOR_STAFF") {
      this.#timer = setTimeout(() => void this.look().catch(() => undefined), LOOK_AGAIN); // the next event looks too
    }
  }

  /** The messages so far; those that the watch brought meanwhile stay where they are. */
  async load() {
    const before = [];
    for (let token = ""; ;) {
      const page = await this.#desk.call(`/v1/${this.name}/messages?page_size=500&page_token=${encodeURIComponent(token)}`);
      before.push(...(page.messages ?? []).filter((message) => this.#isNew(message)));
      token = page.nextPageToken ?? "";
      if (!token) break;
    }
    this.#log.prepend(...before.map(storedMessage));
    await this.look();
  }

  async #follow(cut) {
    for await (const event of this.#desk.watch(this.name, this.#stop.signal, cut)) this.#show(event);
  }

  #show(event) {
    if (event.message && this.#isNew(event.message)) this.#add(storedMessage(event.message));
    else if (event.orderChanged) this.#add(happening(`An order of this conversation is ${words(event.orderChanged.state)} now.`));
    else if (event.controllerChanged) {
      this.#add(happening(CHANGES[event.controllerChanged.to] ?? "Somebody else speaks now."));
      this.look().catch(() => undefined); // the log has said what counts
    }
  }

  #isNew({ name, clientMessageId, author, run }) {
    const known = this.#shown.has(name) || this.#shown.has(clientMessageId) || (author === "ASSISTANT" && this.#shown.has(run));
    this.#shown.add(name);
    return !known;
  }

  #add(made) {
    this.#log.append(made);
    made.scrollIntoView({ block: "nearest" });
  }
}

const words = (state) => state.toLowerCase().replaceAll("_", " ");

/** Who speaks, in a sentence; empty while it is the assistant. */
export function speaker({ controller, handOff = {} }) {
  if (controller === "STAFF") return "A member of staff answers here.";
  if (controller !== "WAITING_FOR_STAFF") return "";
  const said = ["A person has been asked for."];
  if (handOff.place > 0) said.push(handOff.place === 1 ? "You are the next." : `You are number ${handOff.place} in the queue.`);
  if (!handOff.deskOpen && handOff.opensAt) said.push(`The desk is closed now and opens ${when(handOff.opensAt)}.`);
  if (handOff.dueTime) said.push(`Somebody answers by ${when(handOff.dueTime)} at the latest.`);
  return said.join(" ");
}

function when(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const day = today ? {} : { weekday: "long", day: "numeric", month: "long" };
  return new Intl.DateTimeFormat(navigator.language, { ...day, hour: "numeric", minute: "2-digit" }).format(date);
}
