/* What the tests ask of a page, evaluated in it. */

/* What can be operated, or is a picture, and has no name for those who do not see it. */
function nameless() {
  const asked = "a, button, input:not([type=hidden]), select, textarea, summary, [role=img], meter, progress";
  return [...document.querySelectorAll(asked)]
    .filter((e) => e.checkVisibility())
    .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length || e.title))
    .map((e) => e.outerHTML);
}

/* Texts that stand out from what is behind them by less than 4.5 to 1 (WCAG AA). */
function faint() {
  const rgba = (text) => { const n = text.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const over = (top, under) => top.map((c, i) => (i < 3 ? c * top[3] + under[i] * (1 - top[3]) : 1));
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.startsWith("rgb")) return null; // a mixture: only where the pointer is
      layers.unshift(rgba(colour));
    }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !e.checkVisibility() || e.closest(".sr, .skip, option, svg, noscript, datalist")) continue;
    const back = behind(e);
    if (!back) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`${ratio.toFixed(2)}: ${e.tagName} ${text.slice(0, 40)}`);
  }
  return [...found];
}

/* From now on, and from the beginning of the page, how far things have moved by themselves. */
function watchJumps() {
  window.jumps = 0;
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) window.jumps += one.value;
  }).observe({ type: "layout-shift", buffered: true });
}
