"use strict";
/* The charts of the overview. `charts.show({hour: series, day: series})` draws or redraws them; a series is as in series.py.
   All times are in UTC, as everywhere in the dashboard. */

window.charts = (() => {
  const HEIGHT = 160;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = (n) => String(n).padStart(2, "0");
  const clock = (seconds) => { const at = new Date(seconds * 1000); return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`; };
  const count = (n) => n.toLocaleString("en-US");
  const percent = (n) => `${n.toFixed(n < 10 && n % 1 ? 1 : 0)} %`;
  const trimmed = (n) => String(Number(n.toPrecision(2)));
  const time = (s) => {
    if (s < 1) return `${trimmed(s * 1000)} ms`;
    if (s < 120) return `${trimmed(s)} s`;
    return s < 7200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
  };
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  const present = (numbers) => numbers.filter((n) => n !== null);
  const most = (numbers) => Math.max(0, ...present(numbers));

  const line = (label, colour) => ({ label, stroke: () => css(colour), width: 1.5, points: { show: true, size: 4, fill: () => css(colour) } });
  const bar = (label, colour) => ({ label, fill: () => css(colour), stroke: () => css(colour), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 24] }) });

  /* Each kind of chart: its data, how they are drawn, and what it says in words, of all or of the slot number i. */
  const KINDS = {
    throughput: {
      // What failed is drawn on top of what completed: first both together, then the completed ones before them.
      data: (s) => [s.start, s.completed.map((n, i) => n + s.failed[i]), s.completed],
      series: [bar("all", "--bad"), bar("completed", "--good")],
      range: (u, low, high) => [0, Math.max(4, high * 1.1)],
      tick: count,
      whole: (n) => Number.isInteger(n),
      all: (s) => `${count(sum(s.completed))} completed, ${count(sum(s.failed))} failed`,
      slot: (s, i) => `${count(s.completed[i])} completed, ${count(s.failed[i])} failed`,
    },
    failures: {
      data: (s) => [s.start, s.failure_rate],
      series: [bar("failure rate", "--bad")],
      range: (u, low, high) => [0, Math.min(100, Math.max(5, high * 1.1))],
      tick: percent,
      all: (s) => {
        const failed = sum(s.failed), ended = failed + sum(s.completed);
        return ended ? `${percent(100 * failed / ended)} in all, at most ${percent(most(s.failure_rate))}` : "nothing ran";
      },
      slot: (s, i) => s.failure_rate[i] === null ? "nothing ran" : percent(s.failure_rate[i]),
    },
    latency: {
      data: (s) => [s.start, s.p50, s.p99],
      series: [line("p50", "--accent"), line("p99", "--run")],
      logarithmic: true,
      range: (u, low, high) => {
        if (low === null || high === null) return [0.001, 1];
        const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
        return [10 ** from, 10 ** Math.max(to, from + 1)];
      },
      tick: time,
      all: (s) => present(s.p99).length ? `p99 at most ${time(most(s.p99))}, p50 at most ${time(most(s.p50))}` : "nothing ran",
      slot: (s, i) => s.p50[i] === null ? "nothing ran" : `p50 ${time(s.p50[i])}, p99 ${time(s.p99[i])}`,
    },
  };

  class Chart {
    constructor(figure) {
      this.kind = KINDS[figure.dataset.chart];
      this.range = figure.dataset.range;
      this.name = figure.querySelector("strong").textContent;
      this.readout = figure.querySelector(".readout");
      this.plot = figure.querySelector(".plot");
      this.at = null;
      new ResizeObserver(() => this.drawn?.setSize({ width: this.plot.clientWidth, height: HEIGHT })).observe(this.plot);
    }

    show(series) {
      this.data = series;
      const data = this.kind.data(series);
      if (this.drawn) this.drawn.setData(data);
      else this.drawn = new uPlot(this.options(), data, this.plot);
      this.plot.setAttribute("aria-label", `${this.name}, ${this.range === "hour" ? "last hour" : "last day"}: ${this.kind.all(series)}`);
      this.tell();
    }

    tell() {
      const i = this.at;
      this.readout.textContent = i === null || i >= this.data.start.length
        ? this.kind.all(this.data)
        : `${clock(this.data.start[i])} UTC: ${this.kind.slot(this.data, i)}`;
    }

    options() {
      const kind = this.kind;
      const axis = { stroke: () => css("--faint"), font: `11px ${getComputedStyle(document.body).fontFamily}`, grid: { stroke: () => css("--line"), width: 1 }, ticks: { show: false } };
      const upright = {
        ...axis, scale: "y", size: 52, space: 34, gap: 6,
        values: (u, splits) => splits.map((n) => kind.whole && !kind.whole(n) ? "" : kind.tick(n)),
      };
      if (kind.logarithmic) {
        upright.splits = (u) => { const found = []; for (let n = u.scales.y.min; n <= u.scales.y.max * 1.001; n *= 10) found.push(n); return found; };
        upright.filter = (u, splits) => splits;
      }
      return {
        width: this.plot.clientWidth,
        height: HEIGHT,
        padding: [6, 14, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, sync: { key: this.range, setSeries: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: {
          x: { range: (u, low, high) => { const half = (u.data[0][1] - u.data[0][0]) / 2; return [low - half, high + half]; } },
          y: { range: kind.range, distr: kind.logarithmic ? 3 : 1, log: 10 },
        },
        axes: [{ ...axis, space: 60, size: 24, values: (u, splits) => splits.map(clock) }, upright],
        series: [{}, ...kind.series.map((one) => ({ ...one, scale: "y" }))],
        hooks: { setCursor: [(u) => { this.at = u.cursor.left >= 0 ? u.cursor.idx : null; this.tell(); }] },
      };
    }
  }

  const all = [...document.querySelectorAll("[data-chart]")].map((figure) => new Chart(figure));
  const show = (series) => { for (const chart of all) if (series[chart.range]) chart.show(series[chart.range]); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((chart) => chart.drawn?.redraw(false)));
  show(JSON.parse(document.getElementById("charts").dataset.series));
  return { show };
})();
