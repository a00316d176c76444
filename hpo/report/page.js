// Draws the figures and the table of trials from the page's two JSON blocks. Texts of a study reach the page
// through textContent only, and Plotly through texts that are escaped already; nothing is ever parsed as HTML.
"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const printed = matchMedia("print");

// ---- figures

function template() {
  const night = dark.matches && !printed.matches;
  const ink = night ? "#e4e7ea" : "#1c2126", line = night ? "#343a40" : "#dde1e4", card = night ? "#1b1f23" : "#ffffff";
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, title: { standoff: 8 },
    ticklabeloverflow: "allow" }; // or Plotly measures every label, a sixth of its time
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: 13 },
      xaxis: axis, yaxis: axis, hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
      margin: { l: 58, r: 22, t: 28, b: 46 }, hovermode: "closest",
    },
  };
}

const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };

async function draw(figures) {
  for (const figure of figures) {
    try {
      const layout = { ...figure.layout, template: template(), height: figure.height };
      await Plotly.react(figure.id, figure.data, layout, config);
    } catch (error) {
      document.getElementById(figure.id).textContent = "This figure could not be drawn: " + error;
    }
    await new Promise((resume) => setTimeout(resume)); // the page stays usable between two figures
  }
  Object.assign(document.documentElement.dataset, { drawn: figures.length, milliseconds: Math.round(performance.now()) });
}

// ---- the table of trials

const PAGE = 50;
const COLORS = { finished: "#2f7fc1", pruned: "#e69f00", failed: "#d55e00", running: "#009e73", waiting: "#8a8a8a" };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function compare(a, b) { // numbers before texts, what is missing last
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function shown(value) {
  if (value === null) return "–";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(5))) : String(value);
}

function csvCell(value) {
  if (value === null) return "";
  let text = String(value);
  if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = "'" + text; // or a spreadsheet would run it
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function showTrials({ name, columns, rows }) {
  const state = { by: 0, descending: false, words: [], at: 0 };
  const text = (row) => row.map((cell) => (cell === null ? "" : String(cell))).join(" ").toLowerCase();
  let texts; // made when the filter first asks
  const found = element("span", { role: "status" });
  const head = element("tr"), body = element("tbody");
  const filter = element("input", { type: "search", placeholder: "filter: pruned, relu, 64 …", ariaLabel: "Filter trials" });
  const back = element("button", { type: "button", textContent: "‹ previous" });
  const next = element("button", { type: "button", textContent: "next ›" });
  const asCsv = element("button", { type: "button", textContent: "CSV" });
  const asJson = element("button", { type: "button", textContent: "JSON" });

  const chosen = () => {
    if (state.words.length) texts ??= rows.map(text);
    const some = rows.map((_, i) => i).filter((i) => state.words.every((word) => texts[i].includes(word)));
    const sign = state.descending ? -1 : 1;
    return some.sort((i, j) => {
      const a = rows[i][state.by], b = rows[j][state.by];
      return a === null || b === null ? compare(a, b) : sign * compare(a, b) || i - j;
    });
  };
  const render = () => {
    const some = chosen();
    state.at = Math.max(0, Math.min(state.at, Math.floor((some.length - 1) / PAGE) * PAGE));
    const some_now = some.slice(state.at, state.at + PAGE);
    body.replaceChildren(...some_now.map((i) => element("tr", {}, ...rows[i].map((cell, column) => {
      const full = cell === null ? "" : String(cell);
      const td = element("td", { className: head.children[column].className, title: full });
      if (columns[column] === "state") {
        const dot = element("span", { className: "dot", ariaHidden: "true" });
        dot.style.background = COLORS[cell] || "none";
        td.append(dot);
      }
      td.append(shown(cell));
      return td;
    }))));
    const last = state.at + some_now.length;
    found.textContent = some.length ? `${state.at + 1} to ${last} of ${some.length}` : "no trial";
    back.disabled = state.at === 0;
    next.disabled = last >= some.length;
    [...head.children].forEach((th, i) => {
      th.ariaSort = i !== state.by ? "none" : state.descending ? "descending" : "ascending";
      th.firstChild.textContent = columns[i] + (i !== state.by ? "" : state.descending ? " ▾" : " ▴");
    });
  };
  columns.forEach((column, i) => {
    const button = element("button", { type: "button" });
    button.onclick = () => {
      Object.assign(state, { by: i, descending: state.by === i ? !state.descending : column === "value", at: 0 });
      render();
    };
    const counted = rows.every((row) => row[i] === null || typeof row[i] === "number");
    head.append(element("th", { scope: "col", className: counted ? "number" : "" }, button));
  });
  filter.oninput = () => { Object.assign(state, { words: filter.value.toLowerCase().split(/\s+/).filter(Boolean), at: 0 }); render(); };
  back.onclick = () => { state.at -= PAGE; render(); };
  next.onclick = () => { state.at += PAGE; render(); };
  asCsv.onclick = () => save(name + ".csv", "text/csv", [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n"));
  asJson.onclick = () => save(name + ".json", "application/json",
    JSON.stringify(rows.map((row) => columns.map((column, i) => [column, row[i]])).map(Object.fromEntries), null, 1));
  const table = element("table", {}, element("thead", {}, head), body);
  const controls = element("div", { className: "controls" }, filter, back, next, found, "Download all:", asCsv, asJson);
  document.getElementById("table").replaceChildren(controls, element("div", { className: "scroll" }, table));
  render();
}

// ---- all of it

const figures = read("figures"), trials = read("trials");
if (trials) showTrials(trials);
draw(figures);
dark.addEventListener("change", () => draw(figures));
addEventListener("beforeprint", () => figures.forEach((one) => Plotly.relayout(one.id, { width: 680, template: template() })));
addEventListener("afterprint", () => figures.forEach((one) => Plotly.relayout(one.id, { width: null, autosize: true, template: template() })));
