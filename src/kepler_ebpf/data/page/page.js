"use strict";
// Follows the node while somebody looks. All times are the server's; all names go through textContent.
const SECOND = 1000, LONGEST_WAIT = 15 * SECOND, BANDS = 8;
const REST = { idle: "--idle", others: "--others", unattributed: "--unattributed" };
const at = (id) => document.getElementById(id);
const canvas = at("chart"), ink = canvas.getContext("2d");
const choices = [...document.querySelectorAll("#by input")];

let by = choices.some((choice) => "#" + choice.value === location.hash) ? location.hash.slice(1) : "process";
let run = "", length = 600, steps = [], names = new Map(), colours = new Map(), latest = null;
let cursor = null; // number of the step that is looked at; null: the latest
let timer = 0, wait = SECOND, asking = 0;

// -- asking ---------------------------------------------------------------------------------------------------------

async function ask() {
  clearTimeout(timer);
  const mine = ++asking;
  if (document.hidden) return;
  const since = steps.length ? steps[steps.length - 1].number : 0;
  try {
    const answer = await fetch(`live?by=${by}&since=${since}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(`the collector answers ${answer.status}`);
    const told = await answer.json();
    if (mine !== asking) return;
    const another = run && told.run !== run;
    take(told);
    wait = another ? 0 : SECOND;
    if (!another) draw();
  } catch (error) {
    if (mine !== asking) return;
    wait = Math.min(2 * Math.max(wait, SECOND), LONGEST_WAIT);
    say(`no answer (${error.message}): asking again every ${wait / SECOND} s; the figures are old`, "bad");
  }
  timer = setTimeout(ask, wait);
}

function take(told) {
  if (told.run !== run) { // another collector counts its steps from 1 again
    const first = !run;
    [run, cursor] = [told.run, null];
    if (!first) { forget(); return; }
  }
  const label = told.labels;
  for (const [key, name, where] of label) names.set(key, { name, where });
  for (const [number, ended, node, idle, unattributed, ...most] of told.steps) {
    const watts = new Map();
    for (let i = 0; i < most.length; i += 2) watts.set(label[most[i]][0], most[i + 1]);
    const before = steps[steps.length - 1];
    const seconds = before ? ended - before.ended : 1;
    steps.push({ number, ended, seconds, node, idle, unattributed, watts });
  }
  length = told.length;
  steps.splice(0, steps.length - length);
  const lines = (told.table || []).map(([position, watts, joules]) => ({ key: label[position][0], watts, joules }));
  latest = { ...told, lines };
  if (names.size > 4000) forgetNames();
}

function forget() {
  steps = [];
  names.clear();
  colours.clear();
  latest = null;
}

function forgetNames() {
  const there = new Set(latest.lines.map((line) => line.key));
  for (const step of steps) for (const key of step.watts.keys()) there.add(key);
  for (const key of names.keys()) if (!there.has(key)) names.delete(key);
}

// -- showing --------------------------------------------------------------------------------------------------------

function say(text, mood) {
  const state = at("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = mood;
}

function watts(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function joules(value) {
  let unit = 0;
  for (; value >= 999.5 && unit < 3; unit++) value /= 1e3;  // what would be rounded to 1000 is one of the next
  return `${value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3)} ${"kMG"[unit - 1] ?? ""}J`;
}

function ago(seconds) {
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  return (minutes ? `${minutes} min ` : "") + `${whole % 60} s ago`;
}

function nameOf(key) {
  return names.get(key)?.name ?? key;
}

function bands() {
  const energy = new Map();
  for (const step of steps)
    for (const [key, value] of step.watts) energy.set(key, (energy.get(key) || 0) + value * step.seconds);
  const most = [...energy].sort((a, b) => b[1] - a[1]).slice(0, BANDS).map(([key]) => key);
  for (const key of colours.keys()) if (!most.includes(key)) colours.delete(key);
  const taken = new Set(colours.values());
  for (const key of most) {
    if (colours.has(key)) continue;
    let free = 0;
    while (taken.has(free)) free++;
    colours.set(key, free);
    taken.add(free);
  }
  return [...colours].sort((a, b) => a[1] - b[1]).map(([key]) => key);
}

function variable(key) {
  return REST[key] || (colours.has(key) ? `--c${colours.get(key)}` : "--others");
}

function linesOf(step) {
  if (!step || step === steps[steps.length - 1]) return latest.lines;
  const lines = [...step.watts].map(([key, value]) => ({ key, watts: value }));
  const rest = { others: others(step, step.watts.values()), idle: step.idle, unattributed: step.unattributed };
  return [...lines, ...Object.entries(rest).map(([key, value]) => ({ key, watts: value }))];
}

function others(step, mine) {
  let left = step.node - step.idle - step.unattributed;
  for (const value of mine) left -= value;
  return Math.max(left, 0);
}

function draw() {
  if (!latest) return;
  at("live").hidden = false;
  const node = latest.node;
  at("model").textContent = node ? node.model : "";
  at("model").hidden = !node || !node.model;
  if (node) figures(node);
  health();
  const shown = bands();
  const step = steps.find((one) => one.number === cursor);
  if (!step) cursor = null;
  table(step);
  chart(shown, step);
  const unwell = latest.health.find(([, good]) => !good);
  if (unwell) say(unwell[2], "bad");
  else if (!steps.length) say("live: waiting for the first second", "good");
  else say("live: once a second while you look", "good");
}

const TITLES = {
  kepler_node_power_watts: "power", kepler_node_power_max_watts: "highest sample", kepler_node_cpu_power_watts: "CPU",
  kepler_node_dram_power_watts: "memory", kepler_node_gpu_power_watts: "GPU",
};

function figures(node) {
  const tiles = Object.entries(node.power).map(([family, value]) => [TITLES[family], `${watts(value)} W`, family, value]);
  tiles.push(["energy so far", joules(node.joules), "kepler_node_energy_joules_total", node.joules]);
  tiles.push(["CPU time in use", `${(100 * node.utilization).toFixed(1)} %`, "kepler_node_cpu_utilization", node.utilization]);
  tiles.push(["from", node.source || "no meter", "kepler_node_info", node.source]);
  fill(at("node"), tiles.length, "div", (tile, number) => {
    const [title, text, family, value] = tiles[number];
    if (!tile.children.length) tile.append(document.createElement("dt"), document.createElement("dd"));
    tile.children[0].textContent = title;
    tile.children[1].textContent = text;
    tile.title = family;
    tile.dataset.value = value;
  });
}

function health() {
  const node = latest.node;
  const lines = latest.health.map(([path, good, line]) => `${path}: ${good ? "" : "not well: "}${line}`);
  if (node) {
    lines.push(`a sample every ${Math.round(1000 * node.interval)} ms; ${node.late} late, ${node.failed} failed`);
    lines.push(`books: off by ${node.gap.toExponential(1)} of the energy`);
    lines.push(...node.faults.map((fault) => `readings not believed: ${fault}`));
  }
  fill(at("health"), lines.length, "li", (item, number) => { item.textContent = lines[number]; });
}

function table(step) {
  const lines = linesOf(step), whole = step ? step.node : latest.total ? latest.total[0] : 0;
  const { tBodies: [body], tFoot: foot } = at("table");
  const total = { key: "node", watts: whole, joules: step || !latest.total ? undefined : latest.total[1] };
  rows(body, lines.filter((line) => !(line.key in REST)), whole);
  rows(foot, [...lines.filter((line) => line.key in REST), total], whole);
  const none = body.rows.length ? "" : ": there are none of these";
  at("caption").textContent = (step ? `What used power ${ago(latest.now - step.ended)}` : "What uses power now") + none;
}

function rows(parent, lines, whole) {
  fill(parent, lines.length, "tr", (row, number) => {
    const { key, watts: power, joules: energy } = lines[number];
    if (!row.cells.length) {
      const head = document.createElement("th");
      head.scope = "row";
      head.append(document.createElement("i"), document.createElement("span"));
      row.append(head);
      for (let i = 0; i < 4; i++) row.insertCell();
    }
    const { name, where } = names.get(key) || { name: key === "node" ? "the node" : key, where: "" };
    row.cells[0].firstChild.style.background = key === "node" ? "none" : `var(${variable(key)})`;
    row.cells[0].lastChild.textContent = row.cells[0].title = name;
    row.cells[1].textContent = row.cells[1].title = where;
    row.cells[0].colSpan = where ? 1 : 2;
    row.cells[1].hidden = !where;
    row.cells[2].textContent = watts(power);
    row.cells[3].textContent = whole > 0 ? `${((100 * power) / whole).toFixed(1)}%` : "";
    row.cells[4].textContent = energy === undefined ? "" : joules(energy);
    row.dataset.key = key;
    row.dataset.joules = energy ?? "";
  });
}

/** Makes `parent` have so many children, and has each filled. Elements stay, so that focus and selection do. */
function fill(parent, count, tag, each) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(document.createElement(tag));
  [...parent.children].forEach(each);
}

// -- the chart ------------------------------------------------------------------------------------------------------

const LEFT = 46, BOTTOM = 22, TOP = 8;

function stack(step, shown) {
  const mine = shown.map((key) => step.watts.get(key) || 0);
  return [step.idle, ...mine, others(step, mine), step.unattributed];
}

function chart(shown, step) {
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  ink.setTransform(ratio, 0, 0, ratio, 0, 0);
  ink.clearRect(0, 0, width, height);
  const end = steps.length ? steps[steps.length - 1].ended : 0;
  const top = scale(Math.max(0.1, ...steps.map((one) => one.node)));
  const x = (time) => LEFT + (width - LEFT) * (1 - (end - time) / length);
  const y = (value) => height - BOTTOM - (height - BOTTOM - TOP) * Math.min(value / top, 1);
  const layers = ["idle", ...shown, "others", "unattributed"];
  const heights = steps.map((one) => stack(one, shown));
  const sums = heights.map(() => 0);
  layers.forEach((key, layer) => {
    ink.beginPath();
    steps.forEach((one, i) => {
      ink.lineTo(x(one.ended - one.seconds), y(sums[i] + heights[i][layer]));
      ink.lineTo(x(one.ended), y(sums[i] + heights[i][layer]));
    });
    for (let i = steps.length - 1; i >= 0; i--) {
      ink.lineTo(x(steps[i].ended), y(sums[i]));
      ink.lineTo(x(steps[i].ended - steps[i].seconds), y(sums[i]));
      sums[i] += heights[i][layer];
    }
    ink.fillStyle = colour(variable(key));
    ink.fill();
  });
  axes(x, y, top, end, width, height, colour);
  if (step) {
    const middle = x(step.ended - step.seconds / 2);
    ink.strokeStyle = colour("--ink");
    ink.beginPath();
    ink.moveTo(middle, TOP);
    ink.lineTo(middle, height - BOTTOM);
    ink.stroke();
  }
  describe(step);
}

function axes(x, y, top, end, width, height, colour) {
  ink.font = "12px system-ui, sans-serif";
  ink.fillStyle = colour("--soft");
  ink.strokeStyle = colour("--line");
  ink.lineWidth = 1;
  ink.textAlign = "right";
  ink.textBaseline = "middle";
  for (let part = 0; part <= 4; part++) {
    const value = (top * part) / 4, line = Math.round(y(value)) + 0.5;
    ink.beginPath();
    ink.moveTo(LEFT, line);
    ink.lineTo(width, line);
    ink.stroke();
    ink.fillText(`${+value.toPrecision(3)} W`, LEFT - 6, line);
  }
  ink.textBaseline = "alphabetic";
  const minutes = Math.floor(length / 60), every = width < 500 ? 5 : 2;
  for (let minute = 0; minute <= minutes; minute += every) {
    ink.textAlign = minute === 0 ? "right" : minute === minutes ? "left" : "center";
    ink.fillText(minute ? `−${minute} min` : "now", x(end - 60 * minute), height - 6);
  }
}

/** The next of 1, 2, 4, 8, 10, … that holds the value: a scale that seldom changes. */
function scale(value) {
  const ten = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 8, 10].map((part) => part * ten).find((one) => one >= value * 1.02) || 20 * ten;
}

function describe(step) {
  const lines = linesOf(step).filter((line) => line.watts > 0 && line.key !== "others").slice(0, 4);
  const whole = step ? step.node : latest.total ? latest.total[0] : 0;
  const said = lines.map((line) => `${nameOf(line.key)} ${watts(line.watts)} W`).join(", ");
  const when = step ? `${ago(latest.now - step.ended)} (${utc(step)})` : "now";
  canvas.setAttribute("aria-label", `Power of the last ${Math.round(length / 60)} minutes, stacked. ${when}: ` +
    `${watts(whole)} W${said && ": "}${said}`);
  const text = step ? `${when}: ${watts(step.node)} W: ${said}` : "";
  if (at("moment").textContent !== text) at("moment").textContent = text;
}

/** The time of day by the server's clock: that of this browser may be wrong. */
function utc(step) {
  return new Date((latest.clock - latest.now + step.ended) * 1000).toISOString().slice(11, 19) + " UTC";
}

function look(number) {
  if (!steps.length) return;
  const first = steps[0].number, last = steps[steps.length - 1].number;
  cursor = number === null || number > last ? null : Math.max(number, first);
  draw();
}

// -- what people do -------------------------------------------------------------------------------------------------

canvas.addEventListener("keydown", (event) => {
  if (!steps.length) return;
  const last = steps[steps.length - 1].number, from = cursor ?? last, by = event.shiftKey ? 10 : 1;
  const to = { ArrowLeft: from - by, ArrowRight: from + by, Home: 0, End: null, Escape: null }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  look(to);
});
canvas.addEventListener("pointermove", (event) => {
  if (!steps.length) return;
  const box = canvas.getBoundingClientRect(), part = (event.clientX - box.left - LEFT) / (box.width - LEFT);
  const time = steps[steps.length - 1].ended - (1 - part) * length;
  look(part < 0 ? null : (steps.find((one) => one.ended >= time) || { number: null }).number);
});
canvas.addEventListener("pointerleave", () => look(null));
for (const choice of choices) {
  choice.checked = choice.value === by;
  choice.addEventListener("change", () => {
    by = choice.value;
    history.replaceState(null, "", `#${by}`);
    cursor = null;
    forget();
    ask();
  });
}
document.addEventListener("visibilitychange", ask);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
say("asking", "");
ask();
