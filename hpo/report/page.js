// Draws the page's figures, and adds a button to every command that copies it. Texts of a study reach the page
// through textContent only, and Plotly through texts that are escaped already; nothing is ever parsed as HTML.
"use strict";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 36rem)");
const colors = read("colors"), figures = read("figures");
const PAPER = 680; // pixels that a figure is wide in print
let printing = false;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function template(night) {
  const ink = night ? "#e4e7ea" : "#1c2126", line = night ? "#343a40" : "#dde1e4", card = night ? "#1b1f23" : "#ffffff";
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, title: { standoff: 8 },
    ticklabeloverflow: "allow" }; // or Plotly measures every label, a sixth of its time
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif", size: narrow.matches ? 12 : 13 },
      xaxis: axis, yaxis: { ...axis, ticklabelstandoff: 4 }, hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: night ? "#a0a9b2" : "#59626b", activecolor: ink },
      margin: { l: 48, r: narrow.matches ? 10 : 22, t: 28, b: 46 }, hovermode: "closest",
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    },
  };
}

function darkened(value) { // a figure in the colours of the dark scheme
  if (typeof value === "string") return colors.night[value] ?? value;
  if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(darkened);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, darkened(one)]));
}

function fitNumbers(drawing) { // in the cells of a matrix: as large as the cells allow, none where nobody could read them
  const cells = drawing.data.find((trace) => trace.type === "heatmap" && trace.text);
  if (!cells) return;
  const width = drawing.querySelector(".nsewdrag").getBoundingClientRect().width / cells.z.length;
  const longest = Math.max(...cells.text.flat().map((text) => String(text).length));
  const size = Math.min(12, Math.floor(width / (0.7 * longest)));
  const wanted = size < 8 ? { texttemplate: "" } : { texttemplate: "%{text}", "textfont.size": size };
  if (cells.texttemplate !== wanted.texttemplate || (size >= 8 && cells.textfont.size !== size)) Plotly.restyle(drawing, wanted);
}

function show(figure) {
  const drawing = document.getElementById(figure.id), night = dark.matches && !printing, first = !drawing.data;
  const size = printing ? { width: PAPER, height: figure.height } : {};
  const { data, layout } = night ? darkened(figure) : figure;
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };
  const done = Plotly.react(drawing, data, { ...layout, ...size, template: template(night) }, config);
  if (first) drawing.on("plotly_afterplot", () => fitNumbers(drawing));
  fitNumbers(drawing);
  drawing.querySelectorAll(".main-svg").forEach((svg) => svg.setAttribute("aria-hidden", "true")); // the caption says it in words
  return done;
}

async function draw() {
  for (const figure of figures) {
    try {
      await show(figure);
    } catch (error) {
      document.getElementById(figure.id).textContent = "This figure could not be drawn: " + error;
    }
    await new Promise((resume) => setTimeout(resume)); // the page stays usable between two figures
  }
  Object.assign(document.documentElement.dataset, { drawn: figures.length, milliseconds: Math.round(performance.now()) });
}

function print(now) {
  printing = now;
  figures.forEach(show);
}

async function copy(code, button) {
  let copied = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch { // a browser that keeps its clipboard from a page opened as a file, or has none: the old way
    getSelection().selectAllChildren(code);
    copied = document.execCommand("copy");
  }
  button.textContent = copied ? "copied" : "selected: press Ctrl+C";
  setTimeout(() => { button.textContent = "copy"; }, 3000);
}

document.querySelectorAll(".code").forEach((box) => {
  const button = element("button", { type: "button", textContent: "copy", ariaLive: "polite" });
  button.onclick = () => copy(box.querySelector("code"), button);
  box.append(button);
});
draw();
dark.addEventListener("change", draw);
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));
