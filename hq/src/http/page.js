"use strict";
const WORDS = {
  zh: {
    title: "门店总览", online: "在线门店", rows: "已入库记录", waiting: "待上传", gaps: "缺口", store: "门店", state: "状态",
    seen: "最近消息", version: "版本", devices: "设备", stream: "数据流", through: "已确认至", lag: "延迟", up: "在线", down: "离线",
    empty: "还没有门店连接。请检查门店网关的 [upstream] 配置。", ok: "入库正常", degraded: "数据库无法写入", away: "与总部服务失去连接",
    open_orders: "待取订单", stuck_orders: "柜门打不开",
    other: "English", seconds: "秒", never: "从未", ago: "前", minutes: "分钟", hours: "小时", days: "天",
    conflicts: "内容冲突", missing: "此序号之前的记录门店已无法补传：", lost: "门店日志丢失的区段：",
    refused: "最近被拒绝的连接", times: "次数", last: "最近一次", first: "首次", from: "来源", client: "客户端", todo: "处理方法",
    rollups: "汇总", events: "事件", experience: "体验", readings: "原始读数",
  },
  en: {
    title: "Fleet", online: "stores online", rows: "rows stored", waiting: "rows waiting", gaps: "gaps", store: "Store", state: "State",
    seen: "Last seen", version: "Version", devices: "Devices", stream: "Stream", through: "Through", lag: "Lag", up: "online", down: "offline",
    empty: "No store has connected yet. Look at [upstream] in the store's gateway configuration.", ok: "storing", degraded: "the database takes no rows", away: "no answer from headquarters",
    open_orders: "open orders", stuck_orders: "stuck doors",
    other: "中文", seconds: "s", never: "never", ago: " ago", minutes: "min", hours: "h", days: "d",
    conflicts: "conflicts", missing: "the store had no more what was before", lost: "parts of its journal that the store has lost:",
    refused: "Lately refused", times: "times", last: "last", first: "first", from: "from", client: "client", todo: "What to do",
    rollups: "Roll-ups", events: "Events", experience: "Experience", readings: "Raw readings",
  },
};
// What a refusal means and what to do; a code that is missing here is shown in the words of the API.
const REFUSALS = {
  zh: {
    name: ["登录名不能作为门店编号", "请把该门店 upstream.url 中的用户名改为其 store.id"],
    wrong_secret: ["密码与该门店在总部登记的密钥不符", "请把该门店 upstream.url 中的密码改为总部 hq.toml 的 [stores] 中该门店的 secret"],
    unknown_store: ["总部没有登记这家门店", "请在总部 hq.toml 的 [stores] 中为它添加专用的 secret，然后重启总部服务"],
    login_is_not_the_store: ["登录名与所代表的门店不一致", "请把该门店 upstream.url 中的用户名和密码改为其 store.id 及对应的 secret"],
    session_taken_over: ["同名的另一个连接被新连接取代", "偶尔出现属正常重连；持续出现说明有两台网关使用同一个 store.id"],
    not_allowed: ["该登录名无权进行此操作", "门店只能在 stores/<自己的编号>/ 之下收发"],
  },
  en: {
    name: ["The login cannot be a store's id", "Set the user in that store's upstream.url to its store.id"],
    wrong_secret: ["The password is not the secret that headquarters has for this store", "Set the password in that store's upstream.url to the secret that [stores] of headquarters' hq.toml has for it"],
    unknown_store: ["Headquarters has no such store", "Add it to [stores] of headquarters' hq.toml with a secret of its own, and start headquarters anew"],
    login_is_not_the_store: ["The login is not the store that it speaks for", "Set the user and the password in that store's upstream.url to its store.id and that store's secret"],
    session_taken_over: ["Another connection of this name was closed for a new one", "Now and then a store reconnects; if it goes on, two hubs have the same store.id"],
    not_allowed: ["This login may not do that", "A store publishes and subscribes below stores/<its id>/ alone"],
  },
};
const REFRESH_MS = 2000;
// A store that is still refused tries again far sooner than this.
const REFUSED_LATELY_MS = 15 * 60 * 1000;
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

function cell(row, label, text, ...classes) {
  const made = document.createElement("td");
  made.dataset.label = word(label);
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
      cell(row, "store", store.id, "name").dataset.store = store.id;
      const state = cell(row, "state", store.online ? word("up") : word("down"), "state", store.online ? "good" : "bad");
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
      cell(row, "seen", seen);
      cell(row, "version", store.version ?? "–");
      cell(row, "devices", number(store.devices), "number");
    } else {
      row.className = "more";
      for (const label of ["store", "state", "seen", "version", "devices"]) cell(row, label, "", "blank");
    }
    cell(row, "stream", name ? word(name) : "–");
    cell(row, "rows", number(stream?.rows), "number");
    cell(row, "through", number(stream?.through_seq), "number");
    cell(row, "gaps", number(stream?.gaps_open), "number", stream?.gaps_open ? "bad" : "good");
    cell(row, "lag", duration(stream?.lag_seconds), "number", (stream?.lag_seconds ?? 0) > 60 ? "warn" : "good");
    return row;
  });
}

function line(item, text, ...classes) {
  const made = document.createElement("span");
  made.textContent = text;
  made.classList.add(...classes);
  item.append(made);
}

function refusalItem(refusal, now) {
  const [reason, hint] = REFUSALS[language][refusal.code] ?? [refusal.reason, refusal.hint];
  const ago = (at) => `${duration(Math.max(0, (now - Date.parse(at)) / 1000))}${word("ago")}`;
  const spokeFor = refusal.topic?.match(/^stores\/([^/]+)/)?.[1];
  const who = refusal.code === "login_is_not_the_store" && spokeFor ? `${refusal.device} → ${spokeFor}` : refusal.device;
  const item = document.createElement("li");
  item.dataset.refused = refusal.device;
  item.dataset.code = refusal.code;
  const name = document.createElement("b");
  name.textContent = who;
  item.append(name);
  line(item, reason);
  line(item, `${word("todo")}: ${hint}`);
  const facts = [`${word("times")}: ${number(refusal.times)}`, `${word("last")}: ${ago(refusal.at)}`, `${word("first")}: ${ago(refusal.first_at)}`];
  if (refusal.peer) facts.push(`${word("from")}: ${refusal.peer}`);
  if (refusal.client_id && refusal.client_id !== refusal.device) facts.push(`${word("client")}: ${refusal.client_id}`);
  line(item, facts.join(" · "), "soft");
  return item;
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
  byId("empty").hidden = last.stores.length > 0 || last.refusals.length > 0;
  byId("refused").hidden = last.refusals.length === 0;
  byId("refusals").replaceChildren(...last.refusals.map((refusal) => refusalItem(refusal, last.now)));
}

async function refresh() {
  try {
    const answers = ["api/stores", "api/orders", "api/refusals", "healthz"].map((path) => fetch(path));
    const [stores, orders, refused, health] = await Promise.all(answers);
    const [fleet, open, { refusals }] = [await stores.json(), orders.ok ? await orders.json() : {}, await refused.json()];
    const now = Date.parse(fleet.now);
    const lately = refusals.filter((refusal) => now - Date.parse(refusal.at) < REFUSED_LATELY_MS);
    last = { stores: fleet.stores, orders: open.stores ?? {}, refusals: lately, now, health: health.ok ? "ok" : "degraded" };
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
