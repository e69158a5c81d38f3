"use strict";

const parsed = id => document.getElementById(id)?.textContent ?? "";
const specs = JSON.parse(parsed("specs") || "[]");
const isDrawn = specs.map(() => false);

// Plotly doesn't know the page's theme: its colours are read from the page's own variables.
const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function themed(layout) {
  const axis = own => ({...own, title: {...own.title, font: {size: 13}}, tickfont: {size: 12},
    gridcolor: color("--line"), linecolor: color("--line")});
  return {...layout, xaxis: axis(layout.xaxis), yaxis: axis(layout.yaxis),
    font: {color: color("--text"), size: 13, family: "system-ui, sans-serif"},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: color("--faint"), activecolor: color("--accent")},
    hoverlabel: {bgcolor: color("--card"), bordercolor: color("--line"), font: {color: color("--text")}},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)"};
}
// Plotly would pick a cell's text colour for a white page.
const readable = trace => trace.type === "heatmap" ? {...trace, textfont: {color: color("--text")}} : trace;
// Without a mouse the tool bar would stay and cover the plot.
const toolbar = matchMedia("(hover: hover)").matches ? "hover" : false;
const options = {responsive: true, displaylogo: false, displayModeBar: toolbar, modeBarButtonsToRemove: ["lasso2d", "select2d"]};

function draw(i) {
  isDrawn[i] = true;
  const plot = document.getElementById("plot-" + i);
  Plotly.react(plot, specs[i].data.map(readable), themed(specs[i].layout), options);
  // Paper is narrower than the window: there the drawing is scaled, and must know its shape.
  const isPaper = matchMedia("print").matches;
  for (const svg of plot.querySelectorAll(".main-svg")) {
    const [width, height] = ["width", "height"].map(name => svg.getAttribute(name));
    svg.parentNode.style.aspectRatio = `${width} / ${height}`;
    if (isPaper) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    else svg.removeAttribute("viewBox");
  }
}
// One at a time, so that the page can be read and scrolled meanwhile.
function drawRest() {
  const next = isDrawn.indexOf(false);
  if (next < 0) return document.documentElement.classList.add("drawn");
  draw(next);
  setTimeout(drawRest);
}
const redraw = () => specs.forEach((_, i) => draw(i));

async function start() {
  const packed = Uint8Array.from(atob(parsed("plotly")), c => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  drawRest();
}
if (specs.length) start();

const keyOf = (row, i) => row.cells[i].dataset.key ?? row.cells[i].textContent;
const isEmpty = text => text === "" || text === "–";
// Empty cells stay last whichever the direction; numbers sort as numbers.
function compare(a, b, sign) {
  if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
  return sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
}
function sortBy(header) {
  const ascending = header.ariaSort !== "ascending";
  for (const other of header.parentNode.cells) other.ariaSort = null;
  header.ariaSort = ascending ? "ascending" : "descending";
  const body = header.closest("table").tBodies[0], i = header.cellIndex, sign = ascending ? 1 : -1;
  body.append(...[...body.rows].sort((a, b) => compare(keyOf(a, i), keyOf(b, i), sign)));
}
for (const button of document.querySelectorAll(".sortable th button"))
  button.onclick = () => sortBy(button.parentNode);
