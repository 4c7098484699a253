// What is on the page. Everything that comes from the desk is set as text, never as HTML.

/** An element with a class, text and children. */
export function element(tag, { className = "", text = "", ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A message of the customer. */
export function ownMessage(text) {
  return element("article", { className: "message mine" },
    element("p", { className: "author", text: "You" }), element("p", { className: "text", text }));
}

/** A whole message: of somebody of the outlet, of the assistant, or of staff. */
export function storedMessage(message) {
  if (message.author === "CUSTOMER") return ownMessage(message.text);
  const answer = new Answer();
  if (message.author === "STAFF") {
    answer.article.classList.add("staff");
    answer.article.firstElementChild.textContent = "Staff";
  }
  answer.replace(message.text);
  for (const citation of message.citations ?? []) answer.cite(citation);
  answer.article.classList.remove("draft");
  return answer.article;
}

/** What happened, between the messages. */
export function happening(text) {
  return element("p", { className: "happening", text });
}

/** A message of the desk that is being written. */
export class Answer {
  constructor() {
    this.text = element("p", { className: "text" });
    this.citations = element("ol", { className: "citations", "aria-label": "Sources" });
    this.article = element("article", { className: "message draft" },
      element("p", { className: "author", text: "Desk" }), this.text);
  }

  append(piece) {
    this.text.append(piece);
  }

  replace(text) {
    this.text.textContent = text;
  }

  cite(citation) {
    if (!this.citations.isConnected) this.article.append(this.citations);
    const name = citation.title || citation.document;
    this.citations.append(element("li", {}, element("cite", { text: `[${citation.index}] ${name}` }),
      element("q", { text: citation.quote })));
  }

  note(text) {
    this.article.append(element("p", { className: "note", text }));
  }

  propose(proposal, decide) {
    this.article.append(proposalBox(proposal, decide));
  }

  /** Nothing of it was stored: somebody else speaks now. */
  withdraw() {
    this.replace("");
    while (this.article.childElementCount > 2) this.article.lastElementChild.remove();
  }

  get isEmpty() {
    return this.text.textContent === "" && this.article.childElementCount === 2;
  }

  /** Moves the message, now whole, into `log`, where it is announced once. */
  finish(log) {
    this.article.classList.remove("draft");
    this.article.remove();
    if (!this.isEmpty) log.append(this.article);
  }
}

/** google.type.Money for people. */
export function money(amount) {
  if (!amount) return "";
  const value = Number(amount.units ?? 0) + Number(amount.nanos ?? 0) / 1e9;
  return new Intl.NumberFormat(navigator.language, { style: "currency", currency: amount.currencyCode || "SGD" }).format(value);
}

function proposalBox(proposal, decide) {
  const box = element("section", { className: "proposal", "aria-label": proposal.title || "Proposal" },
    element("h3", { text: proposal.title || "Please check" }));
  if (proposal.lines?.length) box.append(scrollable(lineTable(proposal)));
  if (proposal.questions?.length) {
    box.append(element("ul", {}, ...proposal.questions.map((text) => element("li", { text }))));
  }
  const outcome = element("p", { className: "note", role: "status" });
  const confirm = element("button", { type: "button", className: "primary", text: "Confirm" });
  const reject = element("button", { type: "button", text: "Do not" });
  for (const [button, choice] of [[confirm, "confirm"], [reject, "reject"]]) {
    button.addEventListener("click", async () => {
      confirm.disabled = reject.disabled = true;
      const { text, final } = await decide(proposal, choice);
      outcome.textContent = text;
      confirm.disabled = reject.disabled = final;
    });
  }
  box.append(element("p", { className: "actions" }, confirm, reject), outcome);
  return box;
}

/** A table that is wider than a phone scrolls by itself, by keyboard too. */
function scrollable(table) {
  return element("div", { className: "scroll", role: "region", "aria-label": "Lines", tabindex: "0" }, table);
}

function lineTable(proposal) {
  const head = element("tr", {}, element("th", { scope: "col", text: "Item" }),
    element("th", { scope: "col", className: "number", text: "Quantity" }),
    element("th", { scope: "col", className: "number", text: "Before tax" }));
  const rows = proposal.lines.map((line) => element("tr", {}, element("td", { text: line.description || line.sku }),
    element("td", { className: "number", text: `${line.quantity} ${line.unit}`.trim() }),
    element("td", { className: "number", text: money(line.lineTotal) })));
  const total = element("tr", {}, element("th", { scope: "row", text: "Total with tax" }), element("td"),
    element("td", { className: "number", text: money(proposal.total) }));
  return element("table", {}, element("caption", { text: "What would be ordered" }), element("thead", {}, head),
    element("tbody", {}, ...rows), element("tfoot", {}, total));
}
