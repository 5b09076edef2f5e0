// The staff page: shows the newest picture of the store from /api/events. Text from devices only ever becomes text.
"use strict";

const WORDS = {
  zh: {
    title: "门店看板", restock: "需补货", "shelves-unit": "个货架", "open-lockers": "柜门未关", "traffic-in": "今日进店",
    out: "出店", "sensors-silent": "传感器异常", uplink: "总部连接", waiting: "待上传", "restock-list": "补货清单",
    shelves: "货架库存", lockers: "取货柜", zones: "区域客流", climate: "温湿度", sensors: "传感器", counters: "计数",
    live: "实时", connecting: "连接中", lost: "连接中断", updated: "更新于", ago: "前", online: "在线", offline: "离线",
    unknown: "未知", pieces: "件", of: "共", full: "货架充足", "full-but": "已知货架充足；其余货架件数未知，请在 planogram.toml 中补充。", uncounted: "未计件", heard: "有数据", nothing: "暂无数据", open: "开", closed: "关",
    used: "有物", free: "空", tamper: "异动", people: "人", dwell: "平均停留", lag: "延迟", doors: "门",
    need: "建议补", degraded: "系统运行受限", notice: "提示", battery: "电量", none: "无",
    stuck: "打不开", help: "顾客求助", "left-open": "柜门未关上", waiting_courier: "待配送的订单",
    stage: { placed: "待配送", ready: "待取", opening: "开门中", open: "取货中", stuck: "打不开", collected: "已取", expired: "已过期", cancelled: "已取消" },
    kind: { shelf: "货架", locker: "取货柜", traffic: "客流", climate: "温湿度", bin: "回收箱" },
    unit: { d: "天", h: "小时", m: "分钟", s: "秒" }, other: "English", code: "zh-CN",
  },
  en: {
    title: "Store board", restock: "To restock", "shelves-unit": "shelves", "open-lockers": "Doors open", "traffic-in": "Came in today",
    out: "Left", "sensors-silent": "Sensors silent", uplink: "Headquarters", waiting: "Waiting", "restock-list": "Restock list",
    shelves: "Shelves", lockers: "Lockers", zones: "Zones", climate: "Climate", sensors: "Sensors", counters: "Counters",
    live: "Live", connecting: "Connecting", lost: "Connection lost", updated: "updated", ago: "ago", online: "Online", offline: "Offline",
    unknown: "Unknown", pieces: "pcs", of: "of", full: "Every shelf is well stocked", "full-but": "Every counted shelf is well stocked. The others need an entry in planogram.toml.",
    uncounted: "not counted", heard: "Heard", nothing: "Nothing yet", open: "open", closed: "closed",
    used: "in use", free: "free", tamper: "tamper", people: "people", dwell: "mean stay", lag: "lag", doors: "doors",
    need: "add", degraded: "Running in a reduced mode", notice: "Note", battery: "battery", none: "none",
    stuck: "stuck", help: "Help wanted", "left-open": "door left open", waiting_courier: "Orders on their way",
    stage: { placed: "on its way", ready: "ready", opening: "opening", open: "at the door", stuck: "stuck", collected: "collected", expired: "expired", cancelled: "cancelled" },
    kind: { shelf: "Shelf", locker: "Lockers", traffic: "Traffic", climate: "Climate", bin: "Bin" },
    unit: { d: " d", h: " h", m: " min", s: " s" }, other: "中文", code: "en",
  },
};
const LOW_SHARE = 0.34;
const SILENT_MS = 15 * 60 * 1000;

let lang = pickLanguage();
let view = null;
let link = "connecting";
let hubAhead = 0; // the hub's clock minus this device's, so that ages are the hub's

const byId = (id) => document.getElementById(id);
const t = (key) => WORDS[lang][key];

function pickLanguage() {
  const asked = new URLSearchParams(location.search).get("lang");
  let kept = null;
  try { kept = localStorage.getItem("lang"); } catch { /* private mode: the default will do */ }
  return [asked, kept].find((code) => code in WORDS) || "zh";
}

function text(node, value) {
  const shown = String(value);
  if (node.textContent !== shown) node.textContent = shown;
}

function make(tag, className) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  return node;
}

// Keeps one child per item, in order, and fills it; children of items that have gone are removed.
function sync(container, items, key, attribute, build, fill) {
  container.querySelector(":scope > .empty")?.remove();
  const known = new Map([...container.children].map((node) => [node.getAttribute(attribute), node]));
  items.forEach((item, place) => {
    const id = String(key(item));
    let node = known.get(id);
    if (node) known.delete(id);
    else {
      node = build(item);
      node.setAttribute(attribute, id);
    }
    if (container.children[place] !== node) container.insertBefore(node, container.children[place] || null);
    fill(node, item);
  });
  for (const node of known.values()) node.remove();
  if (items.length === 0) {
    const empty = make("p", "empty");
    text(empty, container.dataset.empty ? t(container.dataset.empty) : t("nothing"));
    container.append(empty);
  }
}

function parts(node, ...names) {
  return names.map((name) => node.querySelector(`[data-part="${name}"]`));
}

function part(name, tag, className) {
  const node = make(tag, className);
  node.dataset.part = name;
  return node;
}

function duration(ms) {
  const unit = t("unit");
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return s + unit.s;
  if (s < 3600) return Math.floor(s / 60) + unit.m;
  if (s < 86400) return Math.floor(s / 3600) + unit.h;
  return Math.floor(s / 86400) + unit.d;
}

const hubNow = () => Date.now() + hubAhead;
const ageOf = (at) => hubNow() - Date.parse(at);

function ago(at) {
  return lang === "zh" ? duration(ageOf(at)) + t("ago") : duration(ageOf(at)) + " " + t("ago");
}

const nameOf = (shelf) => (shelf.name && (shelf.name[lang] || shelf.name.zh || shelf.name.en)) || shelf.gtin || shelf.shelf;
const share = (shelf) => (shelf.capacity && shelf.pieces !== undefined ? shelf.pieces / shelf.capacity : null);
const isUncounted = (shelf) => shelf.pieces === undefined;
const isLow = (shelf) => shelf.pieces === 0 || (share(shelf) !== null && share(shelf) <= LOW_SHARE);
const isSilent = (sensor) => sensor.online === false || ageOf(sensor.last_seen) > SILENT_MS;

function showShelves() {
  const low = view.stock.filter(isLow).sort((a, b) => (share(a) ?? 0) - (share(b) ?? 0));
  text(byId("restock-count"), low.length);
  // What nobody can count is no shelf that is well stocked.
  const uncounted = view.stock.filter(isUncounted).length;
  text(byId("restock-sub"), `${t("shelves-unit")}${uncounted ? ` · ${uncounted} ${t("uncounted")}` : ""}`);
  byId("restock-count").parentElement.className = `tile${low.length ? " warn" : uncounted || !view.stock.length ? "" : " good"}`;
  byId("restock").dataset.empty = view.stock.length === uncounted ? "nothing" : uncounted ? "full-but" : "full";
  byId("restock").className = low.length ? "list" : "";
  sync(byId("restock"), low, (shelf) => shelf.shelf, "data-restock", () => {
    const node = make("div", "item");
    node.append(part("name", "span", "name"), part("shelf", "span", "quiet"), part("need", "span"));
    return node;
  }, (node, shelf) => {
    const [name, id, need] = parts(node, "name", "shelf", "need");
    text(name, nameOf(shelf));
    text(id, shelf.shelf);
    text(need, `${shelf.pieces}${shelf.capacity ? ` / ${shelf.capacity} · ${t("need")} ${shelf.capacity - shelf.pieces}` : ` ${t("pieces")}`}`);
    need.className = shelf.pieces === 0 ? "bad-text" : "warn-text";
  });
  sync(byId("shelves"), view.stock, (shelf) => shelf.shelf, "data-shelf", () => {
    const node = make("div", "card");
    const top = make("div", "row");
    top.append(part("name", "span", "name"), part("pieces", "span", "big"));
    const bar = part("bar", "div", "bar");
    bar.append(part("fill", "div", "fill"));
    const bottom = make("div", "row quiet");
    bottom.append(part("id", "span", "name"), part("at", "span"));
    node.append(top, bar, bottom);
    return node;
  }, (node, shelf) => {
    const [name, pieces, bar, fill, id, at] = parts(node, "name", "pieces", "bar", "fill", "id", "at");
    node.className = `card${shelf.pieces === 0 ? " none" : isLow(shelf) ? " low" : ""}`;
    text(name, nameOf(shelf));
    text(pieces, shelf.pieces ?? "?");
    bar.hidden = share(shelf) === null;
    fill.style.width = `${Math.min(100, 100 * (share(shelf) ?? 0))}%`;
    const more = isUncounted(shelf) ? t("uncounted") : shelf.capacity ? `${t("of")} ${shelf.capacity}` : "";
    text(id, [shelf.shelf, more].filter(Boolean).join(" · "));
    text(at, ago(shelf.at));
  });
}

function showLockers() {
  const all = view.lockers.flatMap((bank) => Object.values(bank.compartments));
  const open = all.filter((locker) => locker.door === "open").length;
  const forced = all.filter((locker) => locker.tamper).length;
  const stuck = all.filter((locker) => locker.stuck).length;
  const calls = Object.entries(view.help?.kiosks ?? {});
  const orders = view.orders ?? [];
  const coming = orders.filter((order) => order.stage === "placed").length;
  const notes = calls.map(([kiosk, call]) => `${t("help")}: ${kiosk}${call.order ? ` · ${call.order}` : ""} · ${ago(call.at)}`);
  notes.push(...orders.filter((order) => order.is_left_open).map((order) => `${order.label} · ${t("left-open")}`));
  text(byId("orders-note"), notes.concat(coming ? [`${t("waiting_courier")}: ${coming}`] : []).join(" · "));
  byId("orders-note").className = notes.length ? "bad-text" : "quiet";
  text(byId("open-count"), open);
  text(byId("open-sub"), `${t("of")} ${all.length} ${t("doors")}${forced ? ` · ${t("tamper")} ${forced}` : ""}${stuck ? ` · ${t("stuck")} ${stuck}` : ""}`);
  byId("open-count").parentElement.className = `tile${forced || stuck || calls.length ? " bad" : open ? " warn" : ""}`;
  sync(byId("lockers"), view.lockers, (bank) => bank.bank, "data-bank", () => {
    const node = make("div", "card bank");
    const top = make("div", "row");
    top.append(part("name", "span", "name"), part("at", "span", "quiet"));
    node.append(top, part("doors", "div", "doors"));
    return node;
  }, (node, bank) => {
    const [name, at, doors] = parts(node, "name", "at", "doors");
    text(name, bank.bank);
    text(at, ago(bank.at));
    sync(doors, Object.entries(bank.compartments).sort((a, b) => a[0] - b[0]), ([number]) => number, "data-compartment", () => {
      const door = make("div", "door");
      door.append(part("number", "b"), part("state", "span"));
      return door;
    }, (door, [number, locker]) => {
      const [shown, state] = parts(door, "number", "state");
      text(shown, number);
      const what = locker.tamper ? "tamper" : locker.door === "open" ? "open" : locker.occupied === true ? "used" : locker.occupied === false ? "free" : "closed";
      text(state, locker.order ? `${locker.order.label} ${t("stage")[locker.order.stage] ?? locker.order.stage}` : t(locker.stuck ? "stuck" : what));
      door.className = `door ${locker.stuck ? "tamper" : what}`;
    });
  });
}

function showPeople() {
  text(byId("traffic-in"), view.traffic ? view.traffic.count_in : "–");
  text(byId("traffic-out"), view.traffic ? view.traffic.count_out : "–");
  const most = Math.max(1, ...view.zones.map((zone) => zone.occupancy));
  byId("zones").className = "cards";
  sync(byId("zones"), view.zones, (zone) => zone.zone, "data-zone", () => {
    const node = make("div", "card");
    const top = make("div", "row");
    top.append(part("name", "span", "name"), part("people", "span", "big"));
    const bar = make("div", "bar");
    bar.append(part("fill", "div", "fill"));
    const bottom = make("div", "row quiet");
    bottom.append(part("dwell", "span"), part("at", "span"));
    node.append(top, bar, bottom);
    return node;
  }, (node, zone) => {
    const [name, people, fill, dwell, at] = parts(node, "name", "people", "fill", "dwell", "at");
    text(name, zone.zone);
    text(people, zone.occupancy);
    fill.style.width = `${100 * zone.occupancy / most}%`;
    text(dwell, zone.dwell_mean_s === undefined ? t("people") : `${t("dwell")} ${duration(1000 * zone.dwell_mean_s)}`);
    text(at, ago(zone.at));
  });
}

function showClimate() {
  sync(byId("climate"), view.climate, (climate) => climate.device, "data-climate", () => {
    const node = make("div", "card");
    const top = make("div", "row");
    top.append(part("name", "span", "name"), part("temperature", "span", "big"));
    const bottom = make("div", "row quiet");
    bottom.append(part("humidity", "span"), part("at", "span"));
    node.append(top, bottom);
    return node;
  }, (node, climate) => {
    const [name, temperature, humidity, at] = parts(node, "name", "temperature", "humidity", "at");
    text(name, climate.device);
    text(temperature, climate.temperature_c === undefined ? "–" : `${climate.temperature_c.toFixed(1)} °C`);
    text(humidity, climate.humidity_pct === undefined ? "" : `${climate.humidity_pct.toFixed(0)} % RH`);
    text(at, ago(climate.at));
  });
}

function showSensors() {
  const silent = view.sensors.filter(isSilent).length;
  text(byId("silent-count"), silent);
  text(byId("sensor-sub"), `${t("of")} ${view.sensors.length}`);
  byId("silent-count").parentElement.className = `tile${silent ? " bad" : view.sensors.length ? " good" : ""}`;
  const sorted = [...view.sensors].sort((a, b) => isSilent(b) - isSilent(a));
  byId("sensors").className = sorted.length ? "list" : "";
  sync(byId("sensors"), sorted, (sensor) => sensor.device, "data-device", () => {
    const node = make("div", "item");
    node.append(part("name", "span", "name"), part("state", "span"), part("at", "span", "quiet"));
    return node;
  }, (node, sensor) => {
    const [name, state, at] = parts(node, "name", "state", "at");
    text(name, `${sensor.device} · ${t("kind")[sensor.kind] || sensor.kind}`);
    // A sensor without a status topic is known by what it sends.
    const word = sensor.online === undefined ? (isSilent(sensor) ? "unknown" : "heard") : sensor.online ? "online" : "offline";
    const battery = sensor.battery_pct === undefined ? "" : ` · ${t("battery")} ${sensor.battery_pct.toFixed(0)} %`;
    text(state, t(word) + battery);
    state.className = sensor.online === false ? "bad-text" : isSilent(sensor) ? "warn-text" : sensor.online ? "good-text" : "quiet";
    text(at, ago(sensor.last_seen));
  });
}

function showHub() {
  text(byId("store"), view.store);
  text(byId("uplink-state"), t(view.uplink.online ? "online" : "offline"));
  byId("uplink").className = `tile ${view.uplink.online ? "good" : "warn"}`;
  text(byId("waiting-rows"), view.uplink.waiting_rows);
  const oldest = view.uplink.oldest_waiting_at;
  text(byId("uplink-lag"), oldest ? ` · ${t("lag")} ${duration(Date.parse(view.at) - Date.parse(oldest))}` : "");
  const degraded = view.health.degraded;
  const words = degraded.length ? [`${t("degraded")}: ${degraded.join(" · ")}`] : [];
  for (const notice of view.health.notices || []) words.push(`${t("notice")}: ${notice}`);
  byId("health").hidden = words.length === 0;
  text(byId("health"), words.join(" · "));
  const counters = Object.entries(view.counters);
  byId("counters").className = counters.length ? "list" : "";
  sync(byId("counters"), counters, ([name]) => name, "data-counter", () => {
    const node = make("div", "row item");
    node.append(part("name", "span", "name"), make("span"), part("value", "span"));
    return node;
  }, (node, [name, value]) => {
    const [shown, count] = parts(node, "name", "value");
    text(shown, name);
    text(count, value);
  });
}

function showLink() {
  const dot = byId("link");
  const old = view && ageOf(view.at) > 30000;
  dot.className = `dot${link === "live" && !old ? " on" : link === "lost" ? " off" : ""}`;
  dot.title = t(link);
  const since = view ? `${t("updated")} ${ago(view.at)}` : "";
  text(byId("age"), link === "live" && !old ? t("live") : [t(link), since].filter(Boolean).join(" · "));
}

function show() {
  showLink();
  if (!view) return;
  showShelves();
  showLockers();
  showPeople();
  showClimate();
  showSensors();
  showHub();
}

function speak() {
  document.documentElement.lang = t("code");
  for (const node of document.querySelectorAll("[data-t]")) text(node, t(node.dataset.t));
  document.title = `${t("title")} · Storehub`;
  text(byId("lang"), t("other"));
  show();
}

byId("lang").addEventListener("click", () => {
  lang = lang === "zh" ? "en" : "zh";
  try { localStorage.setItem("lang", lang); } catch { /* private mode: the choice lasts for this page */ }
  speak();
});

function listen() {
  const source = new EventSource("/api/events");
  source.addEventListener("store", (event) => {
    view = JSON.parse(event.data);
    // A picture is made moments before it comes, so that the rest of the difference is between the clocks.
    hubAhead = Date.parse(view.at) - Date.now();
    link = "live";
    show();
  });
  source.addEventListener("error", () => {
    link = "lost";
    showLink();
    // The browser comes back by itself unless it was turned away.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
  });
}

speak();
listen();
setInterval(show, 5000);
