// The customer's chat page: one conversation, streamed answers, proposals that a person decides.

import { Desk, DeskError, newId } from "./api.js";
import { OrderBoard } from "./orders.js";
import { Thread, speaker } from "./thread.js";
import { Answer, ownMessage } from "./view.js";

const find = (id) => document.getElementById(id);
const STEPS = {
  retrieving: "Looking through the documents",
  reading_catalogue: "Reading the catalogue",
  checking_orders: "Checking your orders",
  thinking: "Thinking",
};
const WARNINGS = {
  RESUME_UNAVAILABLE: "If the connection breaks, this answer cannot be picked up again.",
  RETRIEVAL_DEGRADED: "The documents were searched by words only.",
  MODEL_FALLBACK: "The language model is away; a simpler assistant answers.",
  CITATION_DROPPED: "A source that could not be checked was left out.",
};
const ENDINGS = { HANDED_OFF: "A person will take over.", ABSTAINED: "The desk found no sure answer.", PROPOSED: "Please check the proposal and decide." };

let session = null; // {token, tenant, outlet, outlets} as session.json has it, or {token} typed in
let desk = null;
let board = null; // the orders that were confirmed here
let thread = null; // the conversation; null until the first message or the wish for a person
let currentRun = "";

async function readSession() {
  const response = await fetch("/session.json", { cache: "no-store" }).catch(() => null);
  return response?.ok ? response.json() : null;
}

function begin(found) {
  session = found;
  thread?.leave();
  thread = null;
  showSpeaker({});
  desk = new Desk(session.token, renewToken);
  board?.stop();
  board = new OrderBoard(desk, find("orders"), find("order-list"));
  find("sign-in").hidden = true;
  find("chat").hidden = false;
  find("text").focus();
}

/** The conversation that the address names, so that another tab and a reload show the same one. */
async function openNamed() {
  const name = decodeURIComponent(location.hash.slice(1));
  if (!/^conversations\/[A-Za-z0-9_-]{1,64}$/.test(name)) return;
  find("examples").hidden = true;
  find("log").replaceChildren();
  join(name);
  await thread.load().catch((error) => {
    thread.leave();
    thread = null;
    showProblem(error);
  });
}

function join(name) {
  thread = new Thread(desk, name, { log: find("log"), tell: showSpeaker, cut: () => say("The connection was cut. Looking again."), fail: showProblem });
}

/** The conversation, made when there is none yet. */
async function ensureThread() {
  if (thread) return thread;
  const { name } = await desk.call("/v1/conversations", {});
  history.replaceState(null, "", `#${name}`);
  join(name);
  return thread;
}

function showSpeaker(conversation) {
  find("speaker").textContent = speaker(conversation);
  find("human").disabled = ["WAITING_FOR_STAFF", "STAFF"].includes(conversation.controller);
}

/** A new token from this machine's session file, or the sign-in form when there is none. */
async function renewToken() {
  const found = session.outlets ? await readSession() : null;
  const mine = found?.outlets.find((each) => each.outlet === session.outlet);
  if (mine) return mine.token;
  find("sign-in").hidden = false;
  find("token").focus();
  return null;
}

function offerOutlets() {
  const choice = find("outlet");
  for (const each of session.outlets) choice.append(new Option(each.name || each.outlet, each.outlet));
  find("outlet-row").hidden = session.outlets.length < 2;
  choice.addEventListener("change", () => {
    const chosen = session.outlets.find((each) => each.outlet === choice.value);
    find("log").replaceChildren();
    history.replaceState(null, "", location.pathname);
    begin({ ...session, outlet: chosen.outlet, token: chosen.token });
    say(`You now write for ${chosen.name || chosen.outlet}.`);
  });
}

const say = (text) => { find("status").textContent = text; };

function showProblem(error) {
  find("problem").textContent = problemOf(error);
  say("");
}

function problemOf(error) {
  if (error instanceof DeskError) {
    const wait = Math.ceil(Number.parseFloat(error.retryAfter));
    return wait > 0 ? `${error.message} Try again in ${wait} seconds.` : error.message;
  }
  if (error instanceof TypeError) return "The desk cannot be reached. Check your connection and send again.";
  console.error(error);
  return "Something on this page went wrong. Please load it again.";
}

function busy(yes) {
  find("send").disabled = yes;
  find("stop").hidden = !yes;
  find("outlet").disabled = yes;
}

async function send(text) {
  busy(true);
  currentRun = "";
  find("problem").textContent = "";
  find("examples").hidden = true;
  find("log").append(ownMessage(text));
  const answer = new Answer();
  find("draft").append(answer.article);
  say("The desk is answering.");
  try {
    const { name } = await ensureThread();
    const id = newId();
    thread.mine(id);
    for await (const event of desk.send(name, text, id, () => say("The connection was cut. Picking the answer up again."))) {
      currentRun = event.run || currentRun;
      thread.mine(currentRun);
      show(event, answer);
    }
  } catch (error) {
    showProblem(error);
    find("text").value ||= text; // nothing that was typed is lost
  } finally {
    answer.finish(find("log"));
    busy(false);
    answer.article.scrollIntoView({ block: "nearest" });
  }
}

function show(event, answer) {
  if (event.textDelta) answer.append(event.textDelta.text);
  else if (event.snapshot) answer.replace(event.snapshot.text);
  else if (event.citation) answer.cite(event.citation);
  else if (event.proposal) answer.propose(event.proposal, decide);
  else if (event.queued) say(`Your message waits at place ${event.queued.position}.`);
  else if (event.step) say(STEPS[event.step.label] ?? "The desk is working.");
  else if (event.toolCall?.label) say(event.toolCall.label);
  else if (event.warning) answer.note(WARNINGS[event.warning.code] ?? "Something is not as it should be.");
  else if (event.controllerChanged) answer.silenced = true; // the conversation itself says who speaks now
  else end(event, answer);
}

function end(event, answer) {
  if (event.completed) {
    if (answer.text.textContent === "") answer.replace(event.completed.text);
    say(event.completed.text ? ENDINGS[event.completed.answerKind] ?? "The answer is complete." : "Your message was passed on.");
  } else if (event.cancelled && answer.silenced) {
    answer.withdraw();
    say("A person answers instead of the assistant.");
  } else if (event.cancelled) {
    answer.note("Stopped.");
    say("The answer was stopped.");
  } else if (event.interrupted) {
    answer.note(event.interrupted.retryable ? "The answer broke off. Please send your message again." : "The answer broke off.");
    say("The answer broke off.");
  } else if (event.failed) {
    showProblem(new DeskError(event.failed.status ?? {}, 500));
  }
}

/** Confirm or reject; says what came of it, and whether the buttons are done with. */
async function decide(proposal, choice) {
  const body = { requestId: newId() };
  if (choice === "confirm") body.argumentsSha256 = proposal.argumentsSha256;
  try {
    const made = await desk.call(`/v1/${proposal.name}:${choice}`, body);
    if (choice !== "confirm") return { text: "Nothing was ordered.", final: true };
    board.follow(made.resource);
    say("");
    return { text: "Confirmed. How it stands is shown below, under your orders.", final: true };
  } catch (error) {
    if (!(error instanceof DeskError)) return { text: "The desk cannot be reached. Please try again.", final: false };
    return { text: error.message, final: error.reason.startsWith("PROPOSAL_") };
  }
}

async function stop() {
  if (!currentRun) return;
  say("Stopping.");
  await desk.call(`/v1/${currentRun}:cancel`, {}).catch(showProblem); // its stream then ends with `cancelled`
}

async function askForPerson() {
  try {
    const { name } = await ensureThread();
    await thread.look(await desk.call(`/v1/${name}:requestHuman`, { requestId: newId() }));
    find("examples").hidden = true;
    say("You can go on writing.");
  } catch (error) {
    showProblem(error);
  }
}

function submit() {
  const text = find("text").value.trim();
  if (!text || find("send").disabled) return;
  find("text").value = "";
  void send(text);
}

find("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
find("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // isComposing: Enter picks a Chinese word
  event.preventDefault();
  submit();
});
find("stop").addEventListener("click", () => void stop());
find("human").addEventListener("click", () => void askForPerson());
find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  begin({ token: find("token").value.trim() });
  find("token").value = "";
  void openNamed();
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => void send(example.textContent));
}

const found = await readSession();
if (found) {
  begin(found);
  offerOutlets();
  await openNamed();
} else {
  find("sign-in").hidden = false;
}
