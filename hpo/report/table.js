// The table of trials: it sorts by a column, filters by words and by comparisons such as "lr > 0.3", and downloads as CSV or JSON.

const PAGE = 50; // rows
const COMPARISON = /([^\s<>=!]+)\s*(>=|<=|!=|=|>|<)\s*([^\s<>=!]+)(\s*%)?/g; // name, sign, value, per cent
const SIGNS = {
  ">": (order) => order > 0, ">=": (order) => order >= 0, "<": (order) => order < 0, "<=": (order) => order <= 0,
  "=": (order) => order === 0, "!=": (order) => order !== 0,
};

function compare(a, b) { // numbers before texts, what is missing last
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function shown(value, share = false) {
  if (value === null) return "–";
  if (typeof value !== "number") return String(value);
  if (share) return (100 * value).toFixed(2) + "\u00a0%";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1000 ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : String(Number(value.toPrecision(5)));
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

// What a filter asks of a row: its comparisons with columns, and the words that are left. `columns` are the table's names, `shares`
// those whose numbers are shown as per cent; 88, 88 % and 0.88 are the same accuracy.
function parsed(text, columns, shares) {
  const plain = (name) => name.toLowerCase().replaceAll(/[\s_]+/g, "_");
  const tests = [];
  const rest = text.replaceAll(COMPARISON, (all, name, sign, written, percent) => {
    const column = columns.findIndex((one) => plain(one) === plain(name));
    if (column < 0) return all;
    const share = shares.includes(columns[column]);
    const number = Number(written.replaceAll(",", "").replace(/%$/, ""));
    const asked = share && (percent || written.endsWith("%") || number > 1) ? number / 100 : number;
    tests.push((row) => matches(row[column], sign, Number.isNaN(asked) ? written : asked, share));
    return " ";
  });
  return { tests, words: rest.toLowerCase().split(/\s+/).filter(Boolean) };
}

function matches(cell, sign, asked, share) { // what is shown as equal is equal; what is missing matches nothing
  if (cell === null) return false;
  if (typeof cell === "number" && typeof asked === "number")
    return SIGNS[sign](shown(cell, share) === shown(asked, share) ? 0 : cell - asked);
  const same = String(cell).toLowerCase() === String(asked).toLowerCase();
  return sign === "=" ? same : sign === "!=" && !same;
}

function showTrials({ name, columns, shares, rows }) {
  const state = { by: 0, descending: false, at: 0 };
  const text = (row) => row.map((cell) => (cell === null ? "" : String(cell))).join(" ").toLowerCase();
  let texts, asked = parsed("", columns, shares); // texts: made when the filter first asks
  const found = element("span", { role: "status" });
  const head = element("tr"), body = element("tbody");
  const filter = element("input", { type: "search", placeholder: "filter: pruned, lr > 0.3, value >= 88 %", ariaLabel: "Filter trials" });
  const back = element("button", { type: "button", textContent: "‹ previous" });
  const next = element("button", { type: "button", textContent: "next ›" });
  const asCsv = element("button", { type: "button", textContent: "CSV" });
  const asJson = element("button", { type: "button", textContent: "JSON" });

  const chosen = () => {
    if (asked.words.length) texts ??= rows.map(text);
    const fits = (row, i) => asked.words.every((word) => texts[i].includes(word)) && asked.tests.every((test) => test(row));
    const sign = state.descending ? -1 : 1;
    return rows.map((_, i) => i).filter((i) => fits(rows[i], i)).sort((i, j) => {
      const a = rows[i][state.by], b = rows[j][state.by];
      return a === null || b === null ? compare(a, b) : sign * compare(a, b) || i - j;
    });
  };
  const cellOf = (value, column) => {
    const td = element("td", { className: head.children[column].className, title: value === null ? "" : String(value) });
    if (String(value).length > 60) td.classList.add("long");
    if (columns[column] === "state") {
      const dot = element("span", { className: "dot", ariaHidden: "true" });
      const color = colors.states[value] ?? "none";
      dot.style.background = dark.matches ? colors.night[color] : color;
      td.append(dot);
    }
    td.append(shown(value, shares.includes(columns[column])));
    return td;
  };
  const render = () => {
    const some = chosen();
    state.at = Math.max(0, Math.min(state.at, Math.floor((some.length - 1) / PAGE) * PAGE));
    const now = some.slice(state.at, state.at + PAGE);
    body.replaceChildren(...now.map((i) => element("tr", {}, ...rows[i].map(cellOf))));
    const last = state.at + now.length;
    found.textContent = some.length ? `${(state.at + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${some.length.toLocaleString("en")}` : "no trial";
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
  filter.oninput = () => { asked = parsed(filter.value, columns, shares); state.at = 0; render(); };
  back.onclick = () => { state.at -= PAGE; render(); };
  next.onclick = () => { state.at += PAGE; render(); };
  asCsv.onclick = () => save(name + ".csv", "text/csv", [columns, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n"));
  asJson.onclick = () => save(name + ".json", "application/json",
    JSON.stringify(rows.map((row) => columns.map((column, i) => [column, row[i]])).map(Object.fromEntries), null, 1));
  const table = element("table", {}, element("thead", {}, head), body);
  const controls = element("div", { className: "controls" }, filter, back, next, found, "Download all:", asCsv, asJson);
  const scroll = element("div", { className: "scroll", role: "group", ariaLabel: "All trials", tabIndex: 0 }, table);
  document.getElementById("table").replaceChildren(controls, scroll);
  dark.addEventListener("change", render);
  render();
}

const trials = read("trials");
if (trials) showTrials(trials);
