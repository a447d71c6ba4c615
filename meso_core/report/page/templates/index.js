"use strict";
(() => {
  const body = document.querySelector("tbody"), heads = [...document.querySelectorAll("thead th[aria-sort]")];
  const value = (row, column) => { const text = row.cells[column].dataset.value ?? ""; return text === "" || isNaN(text) ? text : +text; };
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(other => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down > 0 ? "ascending" : "descending");
    // what is not known comes last, whichever way
    const rows = [...body.rows].map(row => [value(row, column), row]);
    rows.sort(([a], [b]) => a === b ? 0 : a === "" ? 1 : b === "" ? -1 : (a < b ? -1 : 1) * down);
    body.append(...rows.map(([, row]) => row));
  }));
  const filter = document.getElementById("filter"), shown = document.getElementById("shown");
  const texts = new Map([...body.rows].map(row => [row, row.textContent.toLowerCase()]));
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    texts.forEach((text, row) => { row.hidden = !words.every(word => text.includes(word)); n += !row.hidden; });
    shown.textContent = words.length ? `${n} of ${texts.size}` : "";
  });
})();
