"use strict";
// Everything shown comes from /metrics, /config and /config/history of this server. Values go into the
// page as text, never as markup.

const period = 2000; // ms between two looks
const byId = (id) => document.getElementById(id);

function element(tag, text, className) {
  const x = document.createElement(tag);
  if (text !== undefined) x.textContent = text;
  if (className) x.className = className;
  return x;
}

function shape(tag, attributes, text) {
  const x = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) x.setAttribute(name, value);
  if (text !== undefined) x.textContent = text;
  return x;
}

// -- samples -----------------------------------------------------------------------------------------

/// Text exposition as a list of {name, labels, value}.
function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const m = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!m) continue;
    const labels = {};
    for (const pair of (m[2] || "").matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) labels[pair[1]] = pair[2];
    samples.push({ name: m[1], labels, value: Number(m[3]) });
  }
  return samples;
}

class Look {
  constructor(samples, at) {
    this.at = at;
    this.byName = new Map();
    for (const x of samples) {
      if (!this.byName.has(x.name)) this.byName.set(x.name, []);
      this.byName.get(x.name).push(x);
    }
  }
  all(name, labels = {}) {
    return (this.byName.get(name) || []).filter((x) =>
      Object.entries(labels).every(([key, value]) => x.labels[key] === value));
  }
  sum(name, labels) {
    return this.all(name, labels).reduce((total, x) => total + x.value, 0);
  }
}

/// Of a counter, a second; 0 after a restart.
function rate(now, before, name, labels) {
  if (!before || now.at === before.at) return 0;
  return Math.max(0, now.sum(name, labels) - before.sum(name, labels)) * 1000 / (now.at - before.at);
}

/// The mean of a histogram's observations since the look before, else of all.
function mean(now, before, name, labels) {
  const of = (suffix, look) => (look ? look.sum(name + suffix, labels) : 0);
  let count = of("_count", now) - of("_count", before);
  let sum = of("_sum", now) - of("_sum", before);
  if (count <= 0) {
    count = of("_count", now);
    sum = of("_sum", now);
  }
  return count > 0 ? sum / count : NaN;
}

function short(x) {
  if (!Number.isFinite(x)) return "–";
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]])
    if (Math.abs(x) >= size) return (x / (unit === " k" ? 1e3 : size)).toFixed(1) + unit;
  return Number.isInteger(x) || Math.abs(x) >= 1000 ? String(Math.round(x)) : x.toPrecision(3);
}
const bytes = (x) => (x >= 1e9 ? (x / 1e9).toFixed(2) + " GB" : (x / 1e6).toFixed(1) + " MB");
const percent = (x) => (Number.isFinite(x) ? (100 * x).toFixed(1) + "%" : "–");
const seconds = (x) => (!Number.isFinite(x) ? "–" : x >= 0.1 ? x.toFixed(2) + " s" : (1000 * x).toFixed(2) + " ms");

// -- parts of the page -------------------------------------------------------------------------------

function showNumbers(now, before) {
  const inFlight = now.sum("pikv_router_requests_in_flight");
  const failed = now.all("pikv_router_requests_ended_total").filter((x) => x.labels.code !== "ok")
    .reduce((total, x) => total + x.value, 0);
  const list = [
    [short(rate(now, before, "pikv_router_requests_ended_total", { kind: "attend" })), "attends a second"],
    [short(rate(now, before, "pikv_owner_entries_appended_total")), "entries appended a second"],
    [seconds(mean(now, before, "pikv_router_request_seconds", { kind: "attend" })), "an attend takes"],
    [short(inFlight), "requests in flight"],
    [bytes(now.sum("pikv_owner_page_bytes")), "in pages"],
    [percent(now.sum("pikv_owner_reserved_bytes") / now.sum("pikv_owner_capacity_bytes")), "of the memory taken"],
    [short(failed), "requests failed"],
    [short(now.sum("pikv_supervisor_restarts_total")), "actors restarted"],
  ];
  byId("numbers").replaceChildren(...list.map(([value, text]) => {
    const x = element("div", undefined, "number");
    x.append(element("b", value), element("span", text));
    return x;
  }));
}

// Columns of the graph, as requests go.
const columns = [["config_watcher", "metrics", "supervisor"], ["router"], ["shard_owner"],
  ["stream_scheduler", "compressor", "transfer"]];

function showActors(now) {
  const narrow = byId("actors").clientWidth < 480; // a phone: one below the other
  const width = narrow ? 310 : 640, boxWidth = 140, boxHeight = 46, gap = 10;
  const troubled = new Set(["pikv_supervisor_restarts_total", "pikv_supervisor_degraded_total"]
    .flatMap((name) => now.all(name)).filter((x) => x.value > 0).map((x) => x.labels.actor));
  const lists = columns.map((names) => names.flatMap((name) => {
    const found = now.all("pikv_actor_mailbox_messages", { actor: name }).sort((a, b) => a.labels.index - b.labels.index);
    return found.length ? found : [{ labels: { actor: name, index: "" }, value: NaN }];
  }));
  const before = (column) => lists.slice(0, column).reduce((n, x) => n + x.length, 0);
  const tallest = narrow ? Math.ceil(before(columns.length) / 2) : Math.max(...lists.map((x) => x.length));
  const height = tallest * (boxHeight + gap) + gap;
  const place = (column, i) => {
    const nth = before(column) + i;
    return narrow ? { x: gap + nth % 2 * (boxWidth + gap), y: gap + Math.floor(nth / 2) * (boxHeight + gap) } : {
      x: gap + column * (width - boxWidth - 2 * gap) / (columns.length - 1),
      y: gap + i * (boxHeight + gap) + (tallest - lists[column].length) * (boxHeight + gap) / 2,
    };
  };
  const out = [];
  for (const [from, to] of narrow ? [] : [[1, 2], [2, 3]])
    lists[from].forEach((_, i) => lists[to].forEach((_, j) => {
      const a = place(from, i), b = place(to, j);
      out.push(shape("line", { x1: a.x + boxWidth, y1: a.y + boxHeight / 2, x2: b.x, y2: b.y + boxHeight / 2, class: "edge" }));
    }));
  lists.forEach((list, column) => list.forEach((x, i) => {
    const at = place(column, i);
    const bad = troubled.has(x.labels.actor);
    out.push(shape("rect", { x: at.x, y: at.y, width: boxWidth, height: boxHeight, rx: 6, class: bad ? "box bad" : "box" }));
    out.push(shape("text", { x: at.x + 8, y: at.y + 18 }, x.labels.actor + (list.length > 1 && x.labels.index ? " " + x.labels.index : "")));
    out.push(shape("text", { x: at.x + 8, y: at.y + 35, class: "dim" }, Number.isFinite(x.value) ? short(x.value) + " waiting" : "not running"));
    const full = Math.min(1, (x.value || 0) / 1000);
    out.push(shape("rect", { x: at.x, y: at.y + boxHeight - 3, width: boxWidth * full, height: 3, class: "bar" }));
  }));
  byId("actors").setAttribute("viewBox", `0 0 ${width} ${height}`);
  byId("actors").replaceChildren(...out);
}

function showEntries(now, before) {
  const outcomes = ["read", "not_selected", "not_routed", "evicted", "lost"];
  const total = (look, outcome) => (look ? look.sum("pikv_entries_total", { outcome }) : 0);
  let counts = outcomes.map((x) => Math.max(0, total(now, x) - total(before, x)));
  if (!before || counts.every((x) => x === 0)) counts = outcomes.map((x) => total(now, x));
  const all = counts.reduce((a, b) => a + b, 0);
  const share = (i) => (all > 0 ? counts[i] / all : 0);
  byId("entries").replaceChildren(...outcomes.map((_, i) => {
    const x = element("div", undefined, "s" + i);
    x.style.width = 100 * share(i) + "%";
    return x;
  }));
  byId("entries-legend").replaceChildren(...outcomes.map((name, i) => {
    const x = element("span");
    x.append(element("i", undefined, "s" + i), `${name.replace("_", " ")} ${all > 0 ? percent(share(i)) : "–"}`);
    return x;
  }));
}

function showDevices(now) {
  const capacities = now.all("pikv_owner_capacity_bytes").sort((a, b) => a.labels.device - b.labels.device);
  const out = capacities.map((capacity) => {
    const labels = { device: capacity.labels.device };
    const x = element("div", undefined, "device");
    const pages = now.sum("pikv_owner_page_bytes", labels), used = now.sum("pikv_owner_reserved_bytes", labels);
    x.append(element("b", `Device ${labels.device}`),
      ` ${bytes(used)} of ${bytes(capacity.value)} taken, ${bytes(pages)} in pages, ${bytes(now.sum("pikv_owner_summary_bytes", labels))} in summaries`);
    const shards = now.all("pikv_shard_pages", labels).sort((a, b) => a.labels.shard - b.labels.shard);
    const most = Math.max(1, ...shards.map((s) => s.value));
    const bars = element("div", undefined, "shards");
    for (const s of shards) {
      const bar = element("div");
      bar.style.height = Math.max(2, 100 * s.value / most) + "%";
      bar.title = `shard ${s.labels.shard}: ${s.value} pages`;
      bars.append(bar);
    }
    x.append(bars, element("span", `${shards.length} shards, the fullest ${short(most === 1 && !shards.some((s) => s.value) ? 0 : most)} pages`, "hint"));
    return x;
  });
  byId("devices").replaceChildren(...(out.length ? out : [element("p", "No cache is open.", "hint")]));
}

function fill(table, head, rows, empty) {
  const numeric = (i) => i > 0 && rows.length > 0 && /^[–\d]/.test(rows[0][i]);
  const line = (cells, tag) => {
    const tr = element("tr");
    cells.forEach((cell, i) => tr.append(element(tag, cell, numeric(i) ? "num" : "")));
    return tr;
  };
  byId(table).replaceChildren(line(head, "th"), ...(rows.length ? rows.map((x) => line(x, "td")) : [line([empty], "td")]));
}

function showFidelity(now, before) {
  const audits = now.sum("pikv_router_coverage_ratio_count");
  const rows = audits > 0 ? [
    ["mass read (coverage)", percent(mean(now, before, "pikv_router_coverage_ratio"))],
    ["output error", percent(mean(now, before, "pikv_router_output_error_ratio"))],
    ["audits", short(audits)],
  ] : [];
  const target = now.all("pikv_router_fidelity_coverage_ratio").map((x) => x.value).filter((x) => x > 0);
  if (target.length) {
    rows.push(["coverage asked of each row", percent(Math.max(...target))]);
    rows.push(["target", now.all("pikv_router_fidelity_held").every((x) => x.value === 1) ? "held" : "missed"]);
  }
  for (const tensor of ["k", "v"]) {
    const error = mean(now, before, "pikv_owner_encode_error_ratio", { tensor });
    if (Number.isFinite(error)) rows.push([`reconstruction error of ${tensor.toUpperCase()}`, percent(error)]);
  }
  fill("fidelity", ["measured by audits", ""], rows, "Nothing has been audited or encoded yet.");
}

function showGhosts(now) {
  const rows = now.all("pikv_scheduler_ghost_hit_ratio").sort((a, b) => b.value - a.value)
    .map((x) => [x.labels.policy, percent(x.value), short(now.sum("pikv_scheduler_ghost_reads_total", x.labels))]);
  fill("ghosts", ["policy", "would have kept", "of reads"], rows, "None run.");
}

// -- configuration -----------------------------------------------------------------------------------

let shownVersion = null, edited = false;

async function showConfig(version) {
  const reply = await fetch("/config");
  if (!reply.ok) return;
  byId("yaml").value = await reply.text();
  shownVersion = version;
  edited = false;
}

async function showHistory() {
  const reply = await fetch("/config/history");
  if (!reply.ok) return;
  const rows = (await reply.json()).map((x) => [
    new Date(1000 * x.unix_seconds).toLocaleTimeString() + ", " + x.who,
    (x.refused ? "" : `version ${x.version}: `) + (x.refused ? "refused: " + x.refused
      : x.changed.length ? x.changed.map((c) => c.key + (c.effect ? " – " + c.effect : "")).join("; ") : "nothing changed"),
  ]);
  fill("history", ["when, who", "what"], rows, "No change since the start.");
}

async function change(method, path, body) {
  const headers = {};
  if (byId("token").value) headers.Authorization = "Bearer " + byId("token").value;
  const answer = byId("answer");
  answer.className = "";
  answer.textContent = "…";
  try {
    const reply = await fetch(path, { method, headers, body });
    const x = await reply.json();
    if (!reply.ok) {
      answer.className = "bad";
      answer.textContent = x.error;
    } else {
      const keys = x.changed.map((c) => "  " + c.key + (c.effect ? ": " + c.effect : ""));
      answer.textContent = [x.dry_run
        ? x.would_be_taken ? "It would be taken." : "It would be refused; these need a restart: " + x.restart.join(", ")
        : `Version ${x.version} is in force.`,
        keys.length ? "Changed:" : "Nothing differs from what is in force.", ...keys].join("\n");
      if (!x.dry_run) await showConfig(x.version);
    }
  } catch (e) {
    answer.className = "bad";
    answer.textContent = "no answer: " + e.message;
  }
  await showHistory();
}

byId("yaml").addEventListener("input", () => { edited = true; });
byId("check").addEventListener("click", () => change("PUT", "/config?dry_run=1", byId("yaml").value));
byId("apply").addEventListener("click", () => change("PUT", "/config", byId("yaml").value));
byId("rollback").addEventListener("click", () => change("POST", "/config/rollback"));
byId("fetch").addEventListener("click", () => showConfig(shownVersion));

// -- the loop ----------------------------------------------------------------------------------------

let before = null;

async function look() {
  const state = byId("state");
  try {
    const text = await (await fetch("/metrics", { signal: AbortSignal.timeout(5000) })).text();
    const now = new Look(parse(text), performance.now());
    const info = now.all("pikv_build_info")[0];
    if (info) byId("build").textContent = `${info.labels.version}, backend ${info.labels.backend}`;
    const ready = (await fetch("/-/ready")).ok;
    state.textContent = ready ? "ready" : "not ready";
    state.className = ready ? "good" : "bad";
    showNumbers(now, before);
    showActors(now);
    showEntries(now, before);
    showDevices(now);
    showFidelity(now, before);
    showGhosts(now);
    const version = now.sum("pikv_config_version");
    byId("version").textContent = version;
    if (version !== shownVersion && !edited) await showConfig(version);
    await showHistory();
    before = now;
  } catch (e) {
    state.textContent = "no answer";
    state.className = "bad";
  }
  setTimeout(look, period);
}
look();
