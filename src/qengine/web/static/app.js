"use strict";
// What the pages do by themselves where scripts run; every action works without them.

// Times are shown as a distance; the exact one, in the reader's own zone, is in the title.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.getAttribute("datetime"));
    if (!Number.isNaN(at.valueOf())) time.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  }
}

// A part of a page with data-refresh="seconds" is fetched anew, while it is looked at and nobody is busy in it.
function keepFresh(part) {
  const seconds = Number(part.dataset.refresh);
  if (!seconds) return;
  setTimeout(async () => {
    const busy = part.contains(document.activeElement) || part.querySelector("details[open]") || !getSelection().isCollapsed;
    if (!document.hidden && !busy) {
      try {
        const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
        if (answer.ok && fresh) {
          localTimes(fresh);
          if (!fresh.dataset.refresh) return location.reload(); // it has ended: other actions are possible now
          part.replaceChildren(...fresh.childNodes);
        }
      } catch {
        // The server does not answer: what is shown stays, and the next try may succeed.
      }
    }
    keepFresh(part);
  }, seconds * 1000);
}

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
});

// Escape, or a click beside it, closes an open menu.
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(except)) menu.open = false;
}
document.addEventListener("click", (event) => closeMenus(event.target));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement && document.activeElement.closest("details.menu[open]");
  closeMenus(null);
  if (menu) menu.querySelector("summary").focus();
});
// A page that comes back by the Back button may send its forms again.
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

localTimes(document);
document.querySelectorAll("[data-refresh]").forEach(keepFresh);
