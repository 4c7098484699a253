// The customer's confirmed orders and how they stand, followed live by WatchOrders.

import { DeskError, eventsOf } from "./api.js";
import { element, money } from "./view.js";

const STATES = {
  DRAFT: "is a draft",
  NEEDS_INFO: "waits for your answer",
  CONFIRMED: "is confirmed",
  ACCEPTED: "is accepted",
  FULFILLING: "is being prepared",
  COMPLETED: "is completed",
  CANCELLED: "is cancelled",
  REJECTED: "was declined",
};
const INVOICES = {
  NOT_CONNECTED: "No invoice is booked: accounting is not connected.",
  QUEUED: "The invoice is waiting to be booked.",
  WAITING_BUDGET: "The invoice waits until accounting takes more calls.",
  SENDING: "The invoice is on its way to accounting.",
  OUTCOME_UNKNOWN: "Whether the invoice arrived is being checked.",
  DRAFT: "The invoice is booked as a draft.",
  AUTHORISED: "The invoice is booked.",
  PAID: "The invoice is paid.",
  VOIDED: "The invoice was withdrawn.",
  MISMATCH: "A colleague checks the total of the invoice.",
  NEEDS_ATTENTION: "A colleague looks after the invoice.",
};
const ENDED = new Set(["COMPLETED", "CANCELLED", "REJECTED"]);
const SETTLED = new Set([undefined, "NOT_CONNECTED", "PAID", "VOIDED"]);
const LONGEST_WAIT = 15000;

/** Shows orders in `list` and follows them until nothing more can happen to any of them. */
export class OrderBoard {
  #desk;
  #section;
  #list;
  #orders = new Map(); // name → {row, order}
  #stopped = false;
  #watching = false;
  #cursor = "";

  constructor(desk, section, list) {
    this.#desk = desk;
    this.#section = section;
    this.#list = list;
  }

  /** Follows an order from now on, by its resource name. */
  follow(name) {
    if (!this.#orders.has(name)) {
      const row = element("li", { text: "Your order was taken." });
      this.#orders.set(name, { row, order: null });
      this.#list.append(row);
      this.#section.hidden = false;
    }
    if (this.#watching) void this.#read(name);
    else void this.#watch();
  }

  /** Forgets everything: another outlet is spoken for. */
  stop() {
    this.#stopped = true;
    this.#list.replaceChildren();
    this.#section.hidden = true;
  }

  async #watch() {
    this.#watching = true;
    for (let failures = 0; this.#open; failures += 1) {
      let wait = Math.min(LONGEST_WAIT, 500 * 2 ** failures);
      try {
        for await (const event of eventsOf(await this.#desk.open(`/v1/orders:watch?cursor=${encodeURIComponent(this.#cursor)}`))) {
          if (this.#stopped) return;
          // The first event of a watch from now on: what happened before it is read once.
          if (!this.#cursor) await Promise.all([...this.#orders.keys()].map((name) => this.#read(name)));
          this.#cursor = event.cursor || this.#cursor;
          failures = 0;
          if (event.order) this.#show(event.order);
          if (event.reconnect) {
            wait = 1000 * Number.parseFloat(event.reconnect.delay ?? "0");
            break;
          }
          if (!this.#open) break;
        }
      } catch (error) {
        const passing = error instanceof TypeError || (error instanceof DeskError && (error.passing || error.retryAfter));
        if (!passing) {
          this.#section.querySelector(".note").textContent = "The orders above are no longer followed live.";
          break;
        }
      }
      if (this.#open) await new Promise((resume) => setTimeout(resume, wait));
    }
    this.#watching = false;
  }

  get #open() {
    return !this.#stopped && [...this.#orders.values()].some(({ order }) => !order || !isOver(order));
  }

  async #read(name) {
    const order = await this.#desk.call(`/v1/${name}`).catch(() => null); // the watch tells it later
    if (order) this.#show(order);
  }

  #show(order) {
    const known = this.#orders.get(order.name);
    if (!known || (known.order && version(order) < version(known.order))) return;
    const first = !known.order;
    known.order = order;
    const text = sentence(order);
    if (known.row.textContent !== text) known.row.textContent = text; // said once by screen readers
    if (first) this.#section.scrollIntoView({ block: "nearest" });
  }
}

const isOver = (order) => ENDED.has(order.state) && SETTLED.has(order.invoice?.state);

const version = (order) => Number(/\d+/.exec(order.etag ?? "")?.[0] ?? 0);

/** "Order SO-… over $156.42 is confirmed. The invoice INV-7 is booked." */
function sentence(order) {
  const held = order.holdReasons?.length && order.state === "CONFIRMED";
  const state = held ? "is confirmed; a colleague looks at it before it is prepared" : STATES[order.state] ?? order.state;
  const invoice = INVOICES[order.invoice?.state] ?? "";
  const numbered = order.invoice?.number ? invoice.replace("The invoice", `The invoice ${order.invoice.number}`) : invoice;
  return `Order ${order.number} over ${money(order.total)} ${state}. ${numbered}`.trim();
}
