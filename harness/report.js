"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const detail = $("detail"), hair = $("hair"), svg = document.querySelector("#chart svg");
  const marks = svg ? [...svg.querySelectorAll(".mark")] : [];
  let current = null, hit = null;

  // The tooltip of the browser comes late; the line at the foot of the page comes at once.
  for (const m of marks) {
    const t = m.querySelector("title");
    m.dataset.t = t.textContent;
    t.remove();
  }
  const show = m => {
    if (current) current.classList.remove("now");
    current = m;
    detail.hidden = !m;
    if (hair) for (const a of ["x1", "x2"]) hair.setAttribute(a, m ? m.dataset.x : -9);
    if (!m) return;
    m.classList.add("now");
    detail.textContent = m.dataset.t;
  };
  const jump = m => {
    if (hit) hit.classList.remove("hit");
    hit = $("e" + m.dataset.e);
    if (!hit) return;
    if (hit.hidden) { $("filter").value = ""; filter(); }
    hit.classList.add("hit");
    hit.scrollIntoView({ block: "center" });
  };
  if (svg) {
    svg.addEventListener("pointerover", e => show(e.target.closest(".mark")));
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("click", e => { const m = e.target.closest(".mark"); if (m) jump(m); });
    svg.addEventListener("blur", () => show(null));
    const inTime = [...marks].sort((a, b) => a.dataset.x - b.dataset.x || a.dataset.e - b.dataset.e);
    svg.addEventListener("keydown", e => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      const at = inTime.indexOf(current);
      if (step) show(inTime[Math.max(0, Math.min(inTime.length - 1, at + step))]);
      else if (e.key === "Home") show(inTime[0]);
      else if (e.key === "End") show(inTime[inTime.length - 1]);
      else if (e.key === "Enter" && current) jump(current);
      else if (e.key === "Escape") show(null);
      else return;
      e.preventDefault();
    });
  }

  const rows = [...document.querySelectorAll("#events tbody tr")];
  const texts = rows.map(r => [...r.cells].map(c => c.textContent).join(" ").toLowerCase());
  const filter = () => {
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    rows.forEach((r, i) => {
      const ok = words.every(w => texts[i].includes(w));
      r.hidden = !ok;
      if (ok) n++;
    });
    $("found").textContent = words.length ? n + " of " + rows.length : "";
  };
  if ($("filter")) {
    $("find").hidden = false;
    $("filter").addEventListener("input", filter);
    document.addEventListener("keydown", e => {
      if (e.key === "/" && document.activeElement !== $("filter")) { $("filter").focus(); e.preventDefault(); }
    });
  }
})();
