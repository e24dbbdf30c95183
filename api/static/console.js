// The console's one script: keys, drafts, the countdown of what can be undone, and lists that follow by themselves.
// Every page works without it. Its words are in the page, in the language of the page.

const body = document.body;
const toast = document.getElementById("toast");
const person = body.dataset.person;
const LETTERS_OFF = "cardwatch-letters-off";
const PENDING = "cardwatch-pending";
const DRAFT = "cardwatch-draft:";
const DRAFT_MS = 24 * 3600 * 1000;
// Browsers may refuse storage; what would be kept there is then forgotten, and nothing else changes.
const storage = (kind) => { try { return window[kind]; } catch { return null; } };
const kept = storage("localStorage");
const passing = storage("sessionStorage");

const say = (text) => { if (toast.textContent !== text) toast.textContent = text; };
const isField = (element) => element.matches("input:not([type=radio]):not([type=checkbox]), textarea, select");
const isSeen = (element) => element.checkVisibility();

// Keys

const rows = () => [...document.querySelectorAll("#queue .case a, table.queue .case a")];

function step(by) {
  const links = rows();
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
  links[next].focus();
}

function choose(radio) {
  if (radio.disabled) return say(document.getElementById(radio.getAttribute("aria-describedby"))?.querySelector(".why-not")?.textContent ?? "");
  const note = radio.form.querySelector("textarea");
  radio.checked = true;
  presetNote(radio);
  note.focus();
  note.select();
}

function presetNote(radio) {
  const note = radio.form?.querySelector("textarea");
  if (!note || !radio.dataset.note) return;
  const presets = [...radio.form.querySelectorAll("[data-note]")].map((each) => each.dataset.note);
  if (!note.value.trim() || presets.includes(note.value)) note.value = radio.dataset.note;
}

function follow(key) {
  const target = [...document.querySelectorAll(`[data-press="${key}"], [data-key="${key}"]`)]
    .find((element) => isSeen(element));
  const search = document.getElementById("q");
  if (key === "/" && search) {
    search.focus();
    return true;
  }
  if (!target) return false;
  if (target.dataset.press || target.matches("a")) target.click();
  else if (target.matches("[type=radio]")) choose(target);
  else {
    target.open = true;
    target.querySelector("form :is(input:not([type=hidden]), select, textarea, button)")?.focus();
  }
  return true;
}

function help() {
  const dialog = document.getElementById("keys");
  if (dialog && !dialog.open) dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey || event.metaKey) return;
  const active = document.activeElement;
  if (event.ctrlKey) {
    if (event.key === "Enter" && active?.form) {
      event.preventDefault();
      active.form.requestSubmit(active.form.querySelector("button.main"));
    }
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && active && isField(active)) return active.blur();
  if ((active && isField(active)) || event.key.length > 1 || kept?.getItem(LETTERS_OFF)) return;
  const done = { "?": help, j: () => step(1), k: () => step(-1), q: () => location.assign(body.dataset.console) }[event.key];
  if (done) done();
  else if (event.key === "u" && !document.querySelector('[data-press="u"]') && undoPath()) location.assign(undoPath());
  else if (!follow(event.key)) return;
  event.preventDefault();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-note]")) presetNote(event.target);
  if (event.target.id === "keys-on") {
    if (event.target.checked) kept?.removeItem(LETTERS_OFF);
    else kept?.setItem(LETTERS_OFF, "1");
  }
});

const showKeys = document.getElementById("show-keys");
if (showKeys) {
  showKeys.hidden = false;
  showKeys.addEventListener("click", help);
  document.getElementById("keys-on").checked = !kept?.getItem(LETTERS_OFF);
}

// Drafts: what is written is kept until it was sent, for a day, on this computer, for this person, never with digits
// that could be a card's number.

const draftKey = (form, field) => `${DRAFT}${person}:${form.dataset.draft}:${field.name}`;
const looksLikeCard = (text) => /(\d[ -]?){12}/.test(text.normalize("NFKC"));

function forgetDrafts(keep) {
  for (const key of Object.keys(kept ?? {})) if (key.startsWith(DRAFT) && !keep(key)) kept.removeItem(key);
}

function isFresh(key) {
  try { return Date.now() - JSON.parse(kept.getItem(key)).at < DRAFT_MS; } catch { return false; }
}

forgetDrafts(isFresh);
if (body.dataset.done) forgetDrafts((key) => !key.includes(`:${body.dataset.case}/${body.dataset.done}:`));
for (const form of document.querySelectorAll("form[data-draft]")) {
  for (const field of form.querySelectorAll("textarea")) {
    const draft = kept?.getItem(draftKey(form, field));
    if (draft && !field.value) {
      field.value = JSON.parse(draft).text;
      const around = form.closest("details");
      if (around) around.open = true;
      say(toast.dataset.kept);
    }
    field.addEventListener("input", () => {
      const key = draftKey(form, field);
      if (!field.value.trim() || looksLikeCard(field.value)) kept?.removeItem(key);
      else try { kept?.setItem(key, JSON.stringify({ text: field.value, at: Date.now() })); } catch { /* It is full. */ }
    });
  }
}
for (const form of document.querySelectorAll("form[data-forget]")) form.addEventListener("submit", () => forgetDrafts(() => false));

// What can be undone: counted down where it is, and told on the pages after it.

const readPending = () => { try { return JSON.parse(passing?.getItem(PENDING) ?? "null"); } catch { return null; } };
const undoPath = () => { const pending = readPending(); return pending && pending.until > Date.now() ? pending.path : ""; };

const pendingForm = document.getElementById("pending");
if (pendingForm) {
  const until = Date.now() + Number(pendingForm.dataset.leftMs);
  passing?.setItem(PENDING, JSON.stringify({ path: location.pathname, until, name: pendingForm.dataset.name }));
  const tick = () => {
    const left = Math.max(0, until - Date.now());
    pendingForm.querySelector("progress").value = left;
    pendingForm.querySelector(".countdown").textContent = `${Math.ceil(left / 1000)} s`;
    if (left) setTimeout(tick, 250);
    else awaitEffects();
  };
  pendingForm.querySelector("button").focus();
  tick();
} else if (readPending()?.path === location.pathname) passing.removeItem(PENDING);
else if (undoPath()) {
  const pending = readPending();
  toast.append(`${pending.name}. ${toast.dataset.follows}: `);
  const link = Object.assign(document.createElement("a"), { href: pending.path, textContent: `${toast.dataset.undo} (u)` });
  toast.append(link);
  setTimeout(() => { toast.replaceChildren(); passing.removeItem(PENDING); }, pending.until - Date.now());
}

// The effects follow on the server; the page shows them once they are there, unless somebody writes meanwhile.
async function awaitEffects(tries = 20) {
  const page = await fetchPage();
  if (page && !page.getElementById("pending")) {
    document.querySelector("main").replaceChildren(...page.querySelector("main").childNodes);
    passing?.removeItem(PENDING);
    document.querySelector('[data-press="n"]')?.focus();
    say(toast.dataset.happened);
  } else if (tries > 0) setTimeout(() => awaitEffects(tries - 1), 1000);
}

async function fetchPage() {
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    return answer.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  } catch { return null; }
}

// The queue follows by itself while somebody looks at it.

const caseIds = (page) => [...page.querySelectorAll("#queue .case a")].map((link) => link.getAttribute("href"));

async function refreshQueue() {
  const page = await fetchPage();
  const [now, before] = [page?.getElementById("queue"), document.getElementById("queue")];
  if (!now || now.innerHTML === before.innerHTML) return;
  const changed = caseIds(page).join() !== caseIds(document).join();
  const focused = before.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  before.replaceChildren(...now.childNodes);
  const count = document.getElementById("queue-count");
  count.textContent = page.getElementById("queue-count").textContent;
  if (focused) rows().find((link) => link.getAttribute("href") === focused)?.focus();
  if (changed) say(toast.dataset.changed.replace("{shown}", count.textContent));
}

if (body.dataset.page === "queue") {
  let stream = null;
  const listen = () => {
    if (document.hidden) stream = stream?.close();
    else if (!stream) {
      stream = new EventSource(`${body.dataset.console}/events`);
      stream.addEventListener("queue", refreshQueue);
    }
  };
  document.addEventListener("visibilitychange", listen);
  // Before the next page asks for anything: browsers keep few connections to one place.
  addEventListener("pagehide", () => { stream = stream?.close(); });
  addEventListener("pageshow", listen);
  listen();
}
