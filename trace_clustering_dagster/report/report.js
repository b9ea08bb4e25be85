"use strict";

const $ = (id) => document.getElementById(id);

// an element with text, which is never read as markup
function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function themeToggle() {
  const button = $("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const current = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
  const name = () => (button.textContent = current() === "dark" ? "Light theme" : "Dark theme");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = current() === "dark" ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  name();
  button.hidden = false;
}

function explorer() {
  const REACH = 24; // how far from a mark the pointer may be, in units of the map
  const LISTED = 50;
  const data = JSON.parse($("data").textContent);
  const map = $("map");
  const tip = $("tip");
  const hidden = new Set();
  let pinned = null;
  let current = null;

  const marks = data.traces.map(([id, title, cluster, silhouette, distance]) => (
    { id, title, cluster, silhouette, distance }
  ));
  for (const use of map.querySelectorAll("use")) {
    const mark = marks[use.dataset.trace];
    Object.assign(mark, { use, x: use.x.baseVal.value, y: use.y.baseVal.value });
  }
  const inSearch = (mark) => !map.classList.contains("searching") || mark.use.classList.contains("hit");
  const visible = () => marks.filter((mark) => !hidden.has(mark.cluster) && inSearch(mark));
  const nameOf = (mark) => mark.title || mark.id;

  function nearest(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    let found = null;
    let least = REACH;
    for (const mark of visible()) {
      const distance = Math.hypot(mark.x - x, mark.y - y);
      if (distance < least) [found, least] = [mark, distance];
    }
    return found;
  }

  function encircle(mark, ring) {
    ring.classList.toggle("off", !mark);
    ring.setAttribute("cx", mark?.x ?? 0);
    ring.setAttribute("cy", mark?.y ?? 0);
  }

  function show(mark) {
    current = mark;
    encircle(mark, $("ring"));
    tip.hidden = !mark;
    if (!mark) return;
    tip.replaceChildren(element("bdi", nameOf(mark)), element("div", `#${mark.cluster}`));
    const box = map.getBoundingClientRect();
    const scale = box.width / map.viewBox.baseVal.width;
    const left = Math.max(0, Math.min(mark.x * scale + 14, box.width - tip.offsetWidth));
    const above = mark.y * scale - tip.offsetHeight - 12;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 0 ? above : mark.y * scale + 14}px`;
  }

  function pin(mark) {
    pinned = mark;
    encircle(mark, $("pin"));
    const panel = $("pinned");
    panel.hidden = !mark;
    if (mark) {
      const numbers = [`${mark.distance.toFixed(3)} from the centre`];
      if (mark.silhouette !== null) numbers.push(`silhouette ${mark.silhouette.toFixed(3)}`);
      const unpin = element("button", "Unpin");
      unpin.type = "button";
      unpin.addEventListener("click", () => { pin(null); map.focus(); });
      const cluster = element("p", `#${mark.cluster} `);
      cluster.append(element("bdi", data.clusters[mark.cluster]));
      const id = element("p", "Trace ", "note");
      id.append(element("code", mark.id));
      const title = element("h4", "");
      title.append(element("bdi", nameOf(mark)));
      panel.replaceChildren(title, cluster, element("p", numbers.join(", "), "note"), id, unpin);
    }
  }

  function toggle(button) {
    const cluster = Number(button.dataset.cluster);
    const on = hidden.delete(cluster);
    if (!on) hidden.add(cluster);
    button.setAttribute("aria-pressed", String(on));
    for (const part of map.querySelectorAll(`[data-cluster="${cluster}"]`)) part.classList.toggle("off", !on);
    if (hidden.has(pinned?.cluster)) pin(null);
    if (hidden.has(current?.cluster)) show(null);
    search();
  }

  function search() {
    const query = $("search").value.trim().toLowerCase();
    map.classList.toggle("searching", query !== "");
    for (const mark of marks) {
      const text = `${mark.title}\n${mark.id}`.toLowerCase();
      mark.use.classList.toggle("hit", query !== "" && text.includes(query));
    }
    const found = query ? visible() : [];
    $("found").textContent = query
      ? `${found.length} of ${marks.length} traces` + (found.length > LISTED ? `, the first ${LISTED} listed below` : "")
      : "";
    $("results").hidden = !found.length;
    $("results").replaceChildren(...found.slice(0, LISTED).map((mark) => {
      const button = element("button", "");
      button.type = "button";
      button.append(element("span", `#${mark.cluster}`, "id"), element("bdi", nameOf(mark)));
      button.addEventListener("click", () => pin(mark));
      const item = element("li", "");
      item.append(button);
      return item;
    }));
  }

  // the nearest mark in a direction, those straight ahead before those aside
  function beside(from, dx, dy) {
    let found = from;
    let least = Infinity;
    for (const mark of visible()) {
      const ahead = (mark.x - from.x) * dx + (mark.y - from.y) * dy;
      const aside = Math.abs((mark.x - from.x) * dy) + Math.abs((mark.y - from.y) * dx);
      if (ahead > 0 && ahead + 2 * aside < least) [found, least] = [mark, ahead + 2 * aside];
    }
    return found;
  }

  map.setAttribute("role", "application");
  map.setAttribute("aria-describedby", "keys");
  map.setAttribute("tabindex", "0");
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  map.addEventListener("keydown", (event) => {
    if (event.key in arrows) {
      const from = current ?? pinned;
      const mark = from ? beside(from, ...arrows[event.key]) : visible()[0] ?? null;
      show(mark);
      $("spoken").textContent = mark ? `${nameOf(mark)}, cluster ${mark.cluster}` : "";
    } else if (event.key === "Enter" && current) {
      pin(current);
    } else if (event.key === "Escape") {
      pin(null);
      show(null);
    } else {
      return;
    }
    event.preventDefault();
  });
  map.addEventListener("pointermove", (event) => show(nearest(event)));
  map.addEventListener("pointerleave", () => show(null));
  map.addEventListener("blur", () => show(null));
  map.addEventListener("click", (event) => pin(nearest(event)));
  $("search").addEventListener("input", search);
  for (const button of document.querySelectorAll(".legend button")) {
    button.disabled = false;
    button.addEventListener("click", () => toggle(button));
  }
  for (const part of document.querySelectorAll(".search, .keys")) part.hidden = false;
}

themeToggle();
if ($("data")) explorer();
