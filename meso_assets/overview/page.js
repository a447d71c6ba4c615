"use strict";
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const { texts, states, assets } = values;
  const ROWS_AT_A_TIME = 60;
  const MARKS = {
    done: "✓", partial: "◐", stale: "↻", failed: "✕", interrupted: "‖", running: "▸", missing: "–", "not applicable": "·",
    pending: "…", withheld: "⊘", unreadable: "?",
  };
  const isFile = location.protocol === "file:";
  const base = isFile ? values.interface : location.pathname.replace(/\/meso\/overview\/?$/, "");

  // everything that comes from a folder or a record is put in as text
  const el = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return made;
  };
  const encoded = (path) => path.split("/").map(encodeURIComponent).join("/");
  const size = (bytes) => {
    if (!bytes) return "";
    const units = ["B", "kB", "MB", "GB", "TB"];
    const step = Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
    const shown = bytes / 1000 ** step;
    return `${shown >= 100 || step === 0 ? shown.toFixed(0) : shown.toPrecision(2)} ${units[step]}`;
  };
  const day = (iso) => iso.slice(0, 10);
  const when = (iso) => (iso ? new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "");

  const cellOf = (packed, asset) => {
    const v = Array.isArray(packed) ? packed : [packed];
    return {
      asset, state: states[v[0]], why: texts[v[1] || 0], published: v[2] || "", bytes: v[3] || 0, files: v[4] || 0,
      verdict: v[5] || "", verdictWhy: texts[v[6] || 0], run: texts[v[7] || 0], attempt: texts[v[8] || 0], shown: (v[9] || []).map((n) => texts[n]),
    };
  };
  const sessions = values.sessions.map(([key, standing, packed, rawBytes, place, waits, remarks, said]) => {
    const parts = key.split("/");
    return {
      key, standing, packed, rawBytes, place: place || key, waits: texts[waits], remarks: remarks.map((n) => texts[n]), said: texts[said],
      date: parts[parts.length - 2], name: key.toLowerCase(),
      states: new Set(packed.map((one) => states[Array.isArray(one) ? one[0] : one])),
    };
  });
  const cells = (session) => session.packed.map((one, i) => cellOf(one, assets[i][0]));

  // ---- what is asked for; it stands in the address, so that a link leads to the same rows
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  let chosen = [], n_shown = 0;
  const isWanted = (session) => {
    if (asked.name && !asked.name.toLowerCase().split(/\s+/).every((word) => session.name.includes(word))) return false;
    if (asked.from && session.date < asked.from) return false;
    if (asked.to && session.date > asked.to) return false;
    if (asked.state === "not ready") return session.waits !== "";
    if (asked.state === "remarks") return session.remarks.length > 0;
    if (asked.asset) {
      const place = assets.findIndex(([name]) => name === asked.asset);
      if (place >= 0 && asked.state) return cellOf(session.packed[place]).state === asked.state;
    }
    if (asked.state === "whole") return session.standing === "whole";
    return !asked.state || session.states.has(asked.state);
  };
  const ORDERS = {
    name: (a, b) => (a.key < b.key ? -1 : 1),
    date: (a, b) => (a.date === b.date ? ORDERS.name(a, b) : a.date < b.date ? 1 : -1),
    size: (a, b) => b.rawBytes - a.rawBytes || ORDERS.name(a, b),
  };

  // ---- the table
  const body = el("tbody");
  const shown = el("p", { class: "shown", role: "status" });
  // parts that stay whole where a line is broken
  const small = (parts) => el("span", { class: "small" }, ...parts.filter(Boolean).flatMap((part, i) => [i ? " · " : "", el("i", {}, part)]));
  const named = (key) => key.split("/").flatMap((part, i, all) => (i === all.length - 1 ? [] : i === all.length - 2
    ? [el("wbr"), el("i", {}, `${part}/${all[i + 1]}`)] : [`${part}/`]));
  const word = (cell) => {
    const share = cell.state === "running" && cell.why.match(/^(\d+) %/);
    const mark = MARKS[cell.state];
    if (cell.state === "missing") return mark;
    if (share) return `${mark} ${share[1]} %`;
    return `${mark} ${cell.state}`;
  };
  const hint = (cell) => [
    `${cell.asset}: ${cell.state}`, cell.why, cell.verdict && `verdict ${cell.verdict.toLowerCase()}`, cell.verdictWhy,
    cell.published && `published ${when(cell.published)}`, cell.bytes && `${cell.files} files, ${size(cell.bytes)}`,
  ].filter(Boolean).join("\n");
  const lines = (cell) => {
    const verdict = { WARNING: ["warns", "▲ warn"], FAIL: ["fails", "■ fail"] }[cell.verdict];
    const found = [el("span", { class: "head" }, el("span", { class: "word" }, word(cell)),
      verdict ? el("span", { class: `mark ${verdict[0]}` }, verdict[1]) : "")];
    const again = /last attempt( failed)?/.exec(cell.state === "done" || cell.state === "withheld" ? cell.why : "");
    if (again && cell.attempt) found.push(el("span", { class: "small fails" }, again[1] ? "last attempt failed" : "last attempt interrupted"));
    if (cell.published) found.push(small([day(cell.published)]), small([size(cell.bytes)]));
    return found;
  };
  const isFirst = assets.map(([, group], i) => i === 0 || assets[i - 1][1] !== group);
  const rowOf = (session) => {
    const tr = el("tr");
    const about = [session.said && ({ accepted: "✓ accepted", rejected: "✕ rejected" }[session.said.split(" ")[0]] || "? verdict unreadable"), session.waits && "not ready", size(session.rawBytes) && `raw ${size(session.rawBytes)}`,
      session.remarks.length && `${session.remarks.length} remark${session.remarks.length > 1 ? "s" : ""}`].filter(Boolean);
    tr.append(el("td", { class: "session" }, el("button", {
      type: "button", title: [session.key, session.said, session.waits, ...session.remarks].filter(Boolean).join("\n"),
      onclick: () => open(tr, session, null),
    }, el("span", { class: "name" }, ...named(session.key)), small(about))));
    cells(session).forEach((cell, i) => tr.append(el("td", {
      class: `${cell.state.replace(" ", "-")}${isFirst[i] ? " first" : ""}`,
    }, el("button", { type: "button", title: hint(cell), "aria-label": hint(cell), onclick: () => open(tr, session, cell) }, ...lines(cell)))));
    return tr;
  };
  const more = el("div");
  const showMore = (n = ROWS_AT_A_TIME) => {
    const rows = chosen.slice(n_shown, n_shown + n).map(rowOf);
    n_shown += rows.length;
    body.append(...rows);
    more.hidden = n_shown >= chosen.length;
  };
  const show = () => {
    chosen = sessions.filter(isWanted).sort(ORDERS[asked.order] || ORDERS.name);
    n_shown = 0;
    body.replaceChildren();
    showMore();
    shown.textContent = `${chosen.length} of ${sessions.length} shown`;
    const kept = Object.entries(asked).filter(([, value]) => value);
    history.replaceState(null, "", kept.length ? `#${new URLSearchParams(kept)}` : location.pathname + location.search);
    for (const button of counts.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String((asked.state || "") === button.dataset.state));
    }
    for (const [name, field] of Object.entries(fields)) field.value = asked[name] || "";
  };

  // ---- one cell, or one session, in full
  const panel = el("aside", { hidden: true, "aria-label": "In full" });
  let opened = null;
  const close = () => {
    panel.hidden = true;
    if (opened) opened.classList.remove("chosen");
  };
  const link = (text, path) => (base || !isFile ? el("a", { href: `${base}${path}`, target: isFile ? "_blank" : undefined }, text) : text);
  const folderOf = (session) =>
    (/^\/|:\/\//.test(session.place) ? session.place : `${values.root.replace(/\/$/, "")}/${session.place}`);
  const fileLink = (session, path) => {
    if (!isFile) return `${base}/meso/overview/files/${encoded(session.key)}/-/${encoded(path)}`;
    const folder = folderOf(session);
    return folder.startsWith("/") ? `file://${encoded(folder)}/${encoded(path)}` : "";
  };
  const lineageOf = (session) => `/meso/lineage/${encoded(session.key)}`;
  const entry = (name, ...content) => (content.some(Boolean) ? [el("dt", {}, name), el("dd", {}, ...content)] : []);
  const aboutCell = (session, cell) => [
    el("h2", {}, cell.asset), el("div", {}, session.key),
    el("dl", {},
      ...entry("state", cell.state), ...entry("why", cell.why),
      ...entry("verdict", cell.verdict && cell.verdict.toLowerCase()), ...entry("checks", cell.verdictWhy),
      ...entry("published", when(cell.published)), ...entry("size", cell.bytes ? `${size(cell.bytes)} in ${cell.files} files` : ""),
      ...entry("made by", cell.run && link(`run ${cell.run.split("-")[0]}`, `/runs/${encodeURIComponent(cell.run)}`)),
      ...entry("last attempt", cell.attempt && link(`run ${cell.attempt.split("-")[0]}`, `/runs/${encodeURIComponent(cell.attempt)}`)),
      ...entry("lineage", link("of what and with what", `${lineageOf(session)}#${cell.asset}`)),
      ...entry("interface", link("this asset of this session", `/assets/${cell.asset}?view=partitions&partition=${encodeURIComponent(session.key)}`)),
      ...(["done", "running", "not applicable"].includes(cell.state) ? [] : entry("to run it", el("code", {}, `meso run ${session.key} --assets ${cell.asset}`)))),
    ...figuresOf(session, cell.shown),
  ];
  const aboutSession = (session) => [
    el("h2", {}, session.key),
    el("dl", {},
      ...entry("all in all", session.standing), ...entry("a person", session.said), ...entry("not ready", session.waits), ...entry("remarks", session.remarks.join("\n")),
      ...entry("raw data", size(session.rawBytes)), ...entry("folder", el("code", {}, folderOf(session))),
      ...entry("runs", link("its runs", `/runs?q[0]=${encodeURIComponent(`tag:dagster/partition=${session.key}`)}`)),
      ...entry("lineage", link("which run made each result, and the last audit", lineageOf(session))),
      ...entry("to run it", el("code", {}, `meso run ${session.key}`))),
    ...figuresOf(session, cells(session).flatMap((cell) => cell.shown)),
  ];
  const reportsFirst = (a, b) => b.endsWith(".html") - a.endsWith(".html");
  const figuresOf = (session, paths) => [...paths].sort(reportsFirst).map((path) => {
    const href = fileLink(session, path);
    if (!path.endsWith(".png")) return el("p", {}, href ? el("a", { href, target: "_blank" }, path) : path);
    return el("figure", {}, href ? el("a", { href, target: "_blank" }, el("img", { src: href, alt: path, loading: "lazy" })) : "", path);
  });
  const open = (tr, session, cell) => {
    if (opened) opened.classList.remove("chosen");
    opened = tr;
    tr.classList.add("chosen");
    panel.replaceChildren(el("button", { class: "close", type: "button", "aria-label": "Close", onclick: close }, "×"),
      ...(cell ? aboutCell(session, cell) : aboutSession(session)));
    panel.hidden = false;
    panel.scrollTop = 0;
  };
  addEventListener("keydown", (event) => event.key === "Escape" && close());

  // ---- the page
  const ask = (name) => (event) => { asked[name] = event.target.value; show(); };
  const option = (value, text = value) => el("option", { value }, text);
  const n_of = Object.fromEntries(states.map((state) => [state, sessions.filter((one) => one.states.has(state)).length]));
  const n_waiting = sessions.filter((one) => one.waits).length;
  const n_whole = sessions.filter((one) => one.standing === "whole").length;
  const fields = {
    name: el("input", { type: "search", placeholder: "subject, session", oninput: ask("name") }),
    state: el("select", { onchange: ask("state") }, option("", "any"), option("whole"), ...states.map((state) => option(state)), option("not ready"), option("remarks", "with remarks")),
    asset: el("select", { onchange: ask("asset") }, option("", "any"), ...assets.map(([name]) => option(name))),
    from: el("input", { type: "date", onchange: ask("from") }),
    to: el("input", { type: "date", onchange: ask("to") }),
    order: el("select", { onchange: ask("order") }, option("", "by name"), option("date", "newest first"), option("size", "largest first")),
  };
  const labelled = (text, field, wide) => {
    field.setAttribute("aria-label", text);
    return el("label", { class: wide ? "wide" : undefined }, text, field);
  };
  const count = (state, text, n, mark) => el("li", {}, el("button", {
    type: "button", "data-state": state, onclick: () => { asked.state = asked.state === state ? "" : state; show(); },
  }, mark ? `${mark} ` : "", el("b", {}, String(n)), ` ${text}`));
  const counts = el("ul", { class: "counts", "aria-label": "Sessions by state" },
    count("", sessions.length === 1 ? "session" : "sessions", sessions.length), count("whole", "whole", n_whole, MARKS.done),
    ...states.filter((state) => n_of[state] && state !== "done" && state !== "not applicable").map((state) => count(state, state, n_of[state], MARKS[state])),
    n_waiting ? count("not ready", "not ready", n_waiting, "◌") : null);
  const columnsFrom = (i) => {
    const next = isFirst.indexOf(true, i + 1);
    return (next < 0 ? assets.length : next) - i;
  };
  const groups = el("tr", { class: "groups" }, el("th", { class: "session" }));
  assets.forEach(([, group], i) => {
    if (isFirst[i]) groups.append(el("th", { class: "first", colspan: columnsFrom(i) }, group));
  });
  const names = el("tr", { class: "names" }, el("th", { class: "session", scope: "col" }, "session"),
    ...assets.map(([name], i) => el("th", { scope: "col", class: isFirst[i] ? "first" : undefined }, link(name.split("_").join(" "), `/assets/${name}`))));
  const passed = values.passed_over.length ? el("section", { class: "passed" },
    el("h2", {}, `${values.passed_over.length} folder${values.passed_over.length > 1 ? "s" : ""} passed over`),
    el("p", {}, "They look like sessions, subjects or data, and break a rule: nothing in them is processed."),
    el("ul", {}, ...values.passed_over.slice(0, 500).map(([path, reason]) => el("li", {}, el("code", {}, path), ` ${reason}`)),
      values.passed_over.length > 500 ? el("li", {}, `and ${values.passed_over.length - 500} more: meso status lists all`) : null)) : null;
  const box = el("div", { class: "table", tabindex: 0, "aria-label": "Sessions and assets" }, el("table", {}, el("thead", {}, groups, names), body), more);
  document.getElementById("page").append(...[
    el("header", {}, el("h1", {}, "Sessions"), el("p", {}, `${values.root}, as of ${when(values.made_at)}. `,
      isFile ? "" : el("a", { href: `${base}/meso/overview?now` }, "Look again now"), isFile ? "" : " · ", link("Interface", "/assets"))),
    counts,
    el("div", { class: "filters" }, labelled("Session", fields.name, true), labelled("State", fields.state), labelled("Asset", fields.asset),
      labelled("From", fields.from), labelled("To", fields.to), labelled("Order", fields.order),
      el("button", { type: "button", class: "plain", onclick: () => { for (const name of Object.keys(asked)) delete asked[name]; show(); } }, "Show all")),
    shown, box, passed, panel,
  ].filter(Boolean));
  show();
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && showMore(), { root: box, rootMargin: "600px" }).observe(more);
  addEventListener("beforeprint", () => showMore(chosen.length));
  document.documentElement.dataset.ready = "true";
})();
