"use strict";
(() => {
  const bytes = text => { // a loop: with a function for each byte, scrolling stops where a field comes into view
    const plain = atob(text), made = new Uint8Array(plain.length);
    for (let i = 0; i < plain.length; i++) made[i] = plain.charCodeAt(i);
    return made;
  };
  const when_idle = window.requestIdleCallback ? work => requestIdleCallback(work, { timeout: 1000 }) : work => setTimeout(work, 50);
  const floats = text => new Float32Array(bytes(text).buffer);

  // rings of a path of whole numbers: "M x y l dx dy …z"
  const ringsOf = d => d.split("z").filter(Boolean).map(part => {
    const n = part.match(/-?\d+/g), ring = [];
    for (let i = 0, x = 0, y = 0; i + 1 < n.length; i += 2) ring.push([x += +n[i], y += +n[i + 1]]);
    return ring;
  });
  const boxOf = rings => {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of rings) for (const [x, y] of ring) {
      if (x < box[0]) box[0] = x; if (x > box[2]) box[2] = x;
      if (y < box[1]) box[1] = y; if (y > box[3]) box[3] = y;
    }
    return box;
  };
  const inside = (rings, x, y) => rings.some(ring => {
    let is = false;
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [xi, yi] = ring[i], [xj, yj] = ring[j];
      if ((yi > y) !== (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) is = !is;
    }
    return is;
  });

  const draw = (canvas, data, at) => {
    const pen = canvas.getContext("2d"), css = getComputedStyle(document.documentElement);
    const ink = css.getPropertyValue("--ink"), soft = css.getPropertyValue("--soft"), line = css.getPropertyValue("--line");
    const w = canvas.width, h = canvas.height, left = 190, right = 12, foot = 48;
    pen.clearRect(0, 0, w, h);
    const rows = [["dF/F", data.dff, 2, "#0072b2", ""], ["neuropil", data.neuropil, 1, "#8a939d", " a.u."], ["deconvolved", data.spikes, 1, "#d55e00", " a.u."]];
    const tall = [0.5, 0.2, 0.3];
    pen.font = "26px " + css.getPropertyValue("--font");
    let top = 6;
    rows.forEach(([name, packed, per, colour, unit], k) => {
      const steps = packed.steps ??= bytes(packed.data), scale = packed.values ??= floats(packed.scale);
      const n = packed.n_bins, high = (h - foot) * tall[k] - 18, x = i => left + (w - left - right) * (data.middles[i] - data.from) / (data.to - data.from || 1);
      const y = v => top + high - high * v / 255, first = at * n * per;
      pen.strokeStyle = line; pen.lineWidth = 1; pen.beginPath(); pen.moveTo(left, top + high + .5); pen.lineTo(w - right, top + high + .5); pen.stroke();
      pen.strokeStyle = colour; pen.lineWidth = 1.6; pen.beginPath();
      for (let i = 0; i < n; i++) {
        const new_bout = data.breaks.includes(i), last = i + 1 === n || data.breaks.includes(i + 1);
        if (per === 2) { pen.moveTo(x(i), y(steps[first + 2 * i]) + .8); pen.lineTo(x(i), y(steps[first + 2 * i + 1]) - .8); if (!last) { pen.moveTo(x(i), y(steps[first + 2 * i + 1])); pen.lineTo(x(i + 1), y(steps[first + 2 * i + 3])); } }
        else if (i && !new_bout) pen.lineTo(x(i), y(steps[first + i])); else pen.moveTo(x(i), y(steps[first + i]));
      }
      pen.stroke();
      const short = v => Math.abs(v) >= 100 ? v.toFixed(0) : v.toPrecision(2);
      pen.fillStyle = ink; pen.textAlign = "right"; pen.textBaseline = "middle"; pen.fillText(name, left - 14, top + high / 2);
      pen.fillStyle = soft; pen.font = "21px " + css.getPropertyValue("--font");
      pen.fillText(short(scale[2 * at + 1]) + unit, left - 14, top + 11); pen.fillText(short(scale[2 * at]) + unit, left - 14, top + high - 6);
      pen.font = "26px " + css.getPropertyValue("--font");
      top += high + 18;
    });
    pen.fillStyle = soft; pen.textBaseline = "top";
    [data.from, (data.from + data.to) / 2, data.to].forEach((t, i) => { pen.textAlign = ["left", "center", "right"][i]; pen.fillText(data.to > 300 ? (t / 60).toFixed(1) + " min" : t.toFixed(0) + " s", left + (w - left - right) * i / 2, h - foot + 14); });
  };

  // in the interface, a page tells the runs; its address follows from that of this page, whatever a proxy has put before it
  const served = location.protocol.startsWith("http") && location.pathname.match(/^(.*\/meso)\/overview\/files\/(.+)\/-\/reports\/[^/]+$/);
  if (served) document.querySelectorAll(".elsewhere").forEach(part => {
    const link = document.createElement("a"), live = part.querySelector(".live");
    link.href = `${served[1]}/lineage/${served[2]}`;
    link.append(...live.childNodes); live.append(link); live.hidden = false; part.querySelector(".words").hidden = true;
  });

  // one picture for the screen and for paper, where browsers leave videos blank
  document.querySelectorAll("video").forEach(video => video.poster = video.parentElement.querySelector(".still").src);

  document.querySelectorAll(".field").forEach(field => {
    const stage = field.querySelector(".stage"), images = [...field.querySelectorAll(".stage img")];
    if (!stage) return;
    field.querySelectorAll("input[type=radio]").forEach(radio => radio.addEventListener("change", () => images.forEach((image, i) => image.hidden = i !== +radio.value)));
    field.querySelector(".brightness").addEventListener("input", event => images.forEach(image => image.style.filter = `brightness(${event.target.value}%)`));
    const holder = field.querySelector("script.data");
    if (!holder) return;
    const cells = field.querySelector(".cells"), others = field.querySelector(".others"), lit = field.querySelector(".lit");
    const told = field.querySelector(".told"), traces = field.querySelector(".traces"), before = told.textContent;
    let data = null, rois = null, chosen = -1;
    const load = () => {
      if (rois) return;
      data = JSON.parse(holder.textContent); rois = [];
      for (const [path, numbers, kind] of [[others, data.others, "others"], [cells, data.cells, "cells"]]) {
        const lines = path.getAttribute("d").split("\n");
        numbers.forEach((number, i) => {
          const rings = ringsOf(lines[i] || "");
          if (rings.length) rois.push({ number, kind, d: lines[i], rings, box: boxOf(rings) });
        });
      }
      rois.sort((a, b) => (a.box[2] - a.box[0]) * (a.box[3] - a.box[1]) - (b.box[2] - b.box[0]) * (b.box[3] - b.box[1]));
    };
    const shown = roi => !(roi.kind === "cells" ? cells : others).classList.contains("off");
    const find = event => {
      load();
      const box = stage.getBoundingClientRect(), view = stage.querySelector("svg").viewBox.baseVal;
      const x = (event.clientX - box.left) / box.width * view.width, y = (event.clientY - box.top) / box.height * view.height;
      return rois.find(r => shown(r) && x >= r.box[0] && x <= r.box[2] && y >= r.box[1] && y <= r.box[3] && inside(r.rings, x, y));
    };
    const tell = roi => {
      const i = roi.number, fixed = (list, digits) => list[i] == null ? "–" : list[i].toFixed(digits);
      return `ROI ${i} · ${roi.kind === "cells" ? "cell" : "not a cell"} · ${data.areas ? data.areas[data.area[i]] + " · " : ""}classifier ${fixed(data.classifier, 2)} · SNR ${fixed(data.snr, 1)} · noise ${fixed(data.noise, 1)} %/√Hz · ${data.uuids[i]}`;
    };
    const choose = roi => {
      chosen = roi.number; lit.setAttribute("d", roi.d); told.textContent = tell(roi);
      traces.hidden = false; traces.querySelector("h4").textContent = `ROI ${roi.number}`;
      draw(traces.querySelector("canvas"), data, roi.number);
    };
    const current = () => rois.find(r => r.number === chosen);
    stage.addEventListener("pointermove", event => { const roi = find(event) || current(); lit.setAttribute("d", roi ? roi.d : ""); told.textContent = roi ? tell(roi) : before; });
    stage.addEventListener("pointerleave", () => { if (!rois) return; const roi = current(); lit.setAttribute("d", roi ? roi.d : ""); told.textContent = roi ? tell(roi) : before; });
    stage.addEventListener("click", event => { const roi = find(event); if (roi) choose(roi); });
    stage.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault(); load();
      const order = rois.filter(shown).sort((a, b) => a.number - b.number);
      if (!order.length) return;
      const at = order.findIndex(r => r.number === chosen);
      choose(order[((at < 0 ? (step > 0 ? -1 : 0) : at) + step + order.length) % order.length]);
    });
    field.querySelector(".show-cells").addEventListener("change", event => cells.classList.toggle("off", !event.target.checked));
    field.querySelector(".show-others").addEventListener("change", event => others.classList.toggle("off", !event.target.checked));
    new IntersectionObserver((seen, watch) => { if (!seen.some(s => s.isIntersecting)) return; watch.disconnect(); when_idle(() => { load(); const best = chosen < 0 && rois.find(r => r.number === data.best[0]); if (best) choose(best); }); }, { rootMargin: "400px" }).observe(field);
  });
})();
