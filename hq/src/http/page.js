"use strict";
const WORDS = {
  zh: {
    title: "门店总览", online: "在线门店", rows: "已入库记录", waiting: "待上传", gaps: "缺口", store: "门店", state: "状态",
    seen: "最近消息", version: "版本", devices: "设备", stream: "数据流", through: "已确认至", lag: "延迟", up: "在线", down: "离线",
    empty: "还没有门店连接。请检查门店网关的 [upstream] 配置。", ok: "入库正常", degraded: "数据库无法写入", away: "与总部服务失去连接",
    open_orders: "待取订单", stuck_orders: "柜门打不开",
    other: "English", seconds: "秒", never: "从未", ago: "前", minutes: "分钟", hours: "小时", days: "天",
    conflicts: "内容冲突", missing: "此序号之前的记录门店已无法补传：", lost: "门店日志丢失的区段：",
    rollups: "汇总", events: "事件", experience: "体验", readings: "原始读数",
  },
  en: {
    title: "Fleet", online: "stores online", rows: "rows stored", waiting: "rows waiting", gaps: "gaps", store: "Store", state: "State",
    seen: "Last seen", version: "Version", devices: "Devices", stream: "Stream", through: "Through", lag: "Lag", up: "online", down: "offline",
    empty: "No store has connected yet. Look at [upstream] in the store's gateway configuration.", ok: "storing", degraded: "the database takes no rows", away: "no answer from headquarters",
    open_orders: "open orders", stuck_orders: "stuck doors",
    other: "中文", seconds: "s", never: "never", ago: " ago", minutes: "min", hours: "h", days: "d",
    conflicts: "conflicts", missing: "the store had no more what was before", lost: "parts of its journal that the store has lost:",
    rollups: "Roll-ups", events: "Events", experience: "Experience", readings: "Raw readings",
  },
};
const REFRESH_MS = 2000;
const saved = () => { try { return localStorage.getItem("language"); } catch { return null; } };
const asked = new URLSearchParams(location.search).get("lang")?.split("-")[0];
let language = [asked, saved()].find((tag) => tag in WORDS) ?? "zh";
let last = null;
const word = (key) => WORDS[language][key] ?? key;
const number = (value) => value === null || value === undefined ? "–" : value.toLocaleString(language === "zh" ? "zh-CN" : "en");
const byId = (id) => document.getElementById(id);

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} ${word("seconds")}`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} ${word("minutes")}`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} ${word("hours")}`;
  return `${Math.round(seconds / 86400)} ${word("days")}`;
}

function cell(row, text, ...classes) {
  const made = document.createElement("td");
  made.textContent = text;
  made.classList.add(...classes);
  row.append(made);
  return made;
}

function problems(store) {
  const found = store.conflicts ? [`${word("conflicts")}: ${number(store.conflicts)}`] : [];
  const streams = Object.entries(store.streams).concat(store.older.map((older) => [older.stream, older]));
  for (const [name, stream] of streams) {
    if (stream.missing_before) found.push(`${word(name)}: ${word("missing")} ${stream.missing_before.before_seq}`);
    if (stream.lost_ranges) found.push(`${word(name)}: ${word("lost")} ${number(stream.lost_ranges)}`);
  }
  return found;
}

function storeRows(store, now) {
  const streams = Object.entries(store.streams);
  if (streams.length === 0) streams.push(["", null]);
  return streams.map(([name, stream], place) => {
    const row = document.createElement("tr");
    if (place === 0) {
      cell(row, store.id).dataset.store = store.id;
      const state = cell(row, store.online ? word("up") : word("down"), store.online ? "good" : "bad");
      for (const trouble of store.degraded.concat(problems(store))) {
        const note = document.createElement("span");
        note.className = "trouble warn";
        note.textContent = trouble;
        state.append(note);
      }
      const orders = last.orders[store.id] ?? [];
      if (orders.length) {
        const stuck = orders.filter((order) => order.stage === "stuck").length;
        const note = document.createElement("span");
        note.className = `trouble${stuck ? " warn" : ""}`;
        note.dataset.orders = store.id;
        note.title = orders.map((order) => `${order.order} · ${order.stage}${order.bank ? ` · ${order.bank} ${order.compartment}` : ""}`).join("\n");
        note.textContent = `${word("open_orders")}: ${number(orders.length)}${stuck ? ` · ${word("stuck_orders")}: ${number(stuck)}` : ""}`;
        state.append(note);
      }
      const seen = store.last_seen ? `${duration(Math.max(0, (now - Date.parse(store.last_seen)) / 1000))}${word("ago")}` : word("never");
      cell(row, seen);
      cell(row, store.version ?? "–");
      cell(row, number(store.devices), "number");
    } else {
      row.className = "more";
      for (let n = 0; n < 5; n += 1) cell(row, "");
    }
    cell(row, name ? word(name) : "–");
    cell(row, number(stream?.rows), "number");
    cell(row, number(stream?.through_seq), "number");
    cell(row, number(stream?.gaps_open), "number", stream?.gaps_open ? "bad" : "good");
    cell(row, duration(stream?.lag_seconds), "number", (stream?.lag_seconds ?? 0) > 60 ? "warn" : "good");
    return row;
  });
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = language === "zh" ? "Storehub 总部" : "Storehub headquarters";
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  byId("language").textContent = word("other");
  byId("language").lang = language === "zh" ? "en" : "zh-CN";
  if (!last) return;
  const health = byId("health");
  health.textContent = word(last.health);
  health.className = `badge ${last.health === "ok" ? "good" : "bad"}`;
  if (!last.stores) return;
  const sum = (of) => last.stores.reduce((total, store) => total + of(store), 0);
  const all = (store, of) => Object.values(store.streams).concat(store.older).reduce((total, stream) => total + of(stream), 0);
  byId("figure-online").textContent = `${number(sum((store) => store.online ? 1 : 0))} / ${number(last.stores.length)}`;
  byId("figure-rows").textContent = number(sum((store) => all(store, (stream) => stream.rows)));
  byId("figure-waiting").textContent = number(sum((store) => store.waiting_rows ?? 0));
  byId("figure-gaps").textContent = number(sum((store) => all(store, (stream) => stream.gaps_open)));
  byId("stores").replaceChildren(...last.stores.flatMap((store) => storeRows(store, last.now)));
  byId("empty").hidden = last.stores.length > 0;
}

async function refresh() {
  try {
    const [stores, orders, health] = await Promise.all([fetch("api/stores"), fetch("api/orders"), fetch("healthz")]);
    const [fleet, open] = [await stores.json(), orders.ok ? await orders.json() : {}];
    last = { stores: fleet.stores, orders: open.stores ?? {}, now: Date.parse(fleet.now), health: health.ok ? "ok" : "degraded" };
  } catch {
    last = { ...last, health: "away" };
  }
  show();
  setTimeout(refresh, REFRESH_MS);
}

byId("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  try { localStorage.setItem("language", language); } catch { /* remembering the language is a comfort only */ }
  show();
});
show();
refresh();
