"use strict";
/* Keeps the overview up to date from the server's events. What has not changed is left alone: focus, selection, what is open
   and where one has scrolled stay as they are. */

(() => {
  const state = document.getElementById("live");
  const LATE = 5000; // without a sign of life for so long (ms), the page says so; streams end and begin anew more quickly
  const AGAIN = 3000; // a browser that has given up on a stream is made to try again after so long (ms)
  const SILENCE = 40000; // a connection that has been silent for so long (ms) is dead, though nobody has told us
  let source = null, late = null, silent = null, again = null, away = false;

  const say = (name, text) => {
    state.dataset.state = name;
    if (state.textContent !== text) state.textContent = text;
  };

  const alive = () => {
    clearTimeout(late);
    clearTimeout(silent);
    late = null;
    silent = setTimeout(reopen, SILENCE);
    if (away) say("away", "database away");
    else say("live", "live");
  };

  const lost = () => {
    late ??= setTimeout(() => say("late", "not connected, trying again"), LATE);
    if (source?.readyState === EventSource.CLOSED) again = setTimeout(reopen, AGAIN);
  };

  function open() {
    source = new EventSource(state.dataset.stream);
    source.addEventListener("view", (event) => {
      const news = JSON.parse(event.data);
      for (const [name, html] of Object.entries(news.sections)) update(name, html);
      if (news.series) window.charts.show(news.series);
      away = news.away;
      alive();
    });
    source.addEventListener("error", lost);
    silent = setTimeout(reopen, SILENCE);
  }

  function close() {
    for (const timer of [late, silent, again]) clearTimeout(timer);
    late = null;
    source?.close();
    source = null;
  }

  function reopen() {
    close();
    open();
    lost();
  }

  // A page that nobody looks at keeps no connection: browsers have few for one host.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : reopen()));
  addEventListener("pageshow", (event) => event.persisted && reopen());
  addEventListener("pagehide", close);

  // -- putting a new version of a section in the place of the old one

  const token = document.querySelector('input[name="csrf"]').value;

  function update(name, html) {
    const section = document.querySelector(`[data-section="${name}"]`);
    const made = document.createElement("template");
    made.innerHTML = html;
    localTimes(made.content); // of app.js
    for (const field of made.content.querySelectorAll('input[name="csrf"]')) field.setAttribute("value", token);
    children(section, made.content);
  }

  const key = (node) => node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined;
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

  function children(old, made) {
    const keyed = new Map();
    for (const node of old.children) if (key(node) !== undefined) keyed.set(key(node), node);
    let here = old.firstChild;
    for (const wanted of [...made.childNodes]) {
      const known = keyed.get(key(wanted));
      if (known && known.nodeName === wanted.nodeName) {
        // What stands before it and is gone is taken away, rather than moving this one: a move would lose the focus.
        while (here && here !== known && !stays(here, made)) here = removed(here);
        if (here === known) here = here.nextSibling;
        else old.insertBefore(known, here);
        same(known, wanted);
      } else if (here && key(here) === undefined && alike(here, wanted)) {
        same(here, wanted);
        here = here.nextSibling;
      } else {
        old.insertBefore(wanted, here);
      }
    }
    while (here) here = removed(here);
  }

  const stays = (node, made) => key(node) !== undefined && [...made.children].some((one) => alike(one, node));

  function removed(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function same(old, made) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== made.data) old.data = made.data;
      return;
    }
    for (const { name, value } of [...made.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    children(old, made);
  }

  say("late", "connecting");
  open();
})();
