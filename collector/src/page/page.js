// Fetches the changing part of the page every five seconds. Without it the page still works.
"use strict";
const live = document.getElementById("live");
const age = document.getElementById("age");
let heard = Date.now();

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(live.dataset.from, { cache: "no-store" });
    if (!answer.ok) return;
    const text = await answer.text();
    const open = new Set([...live.querySelectorAll("details")].filter((d) => d.open).map((d) => d.id));
    const shut = new Set([...live.querySelectorAll("details")].filter((d) => !d.open).map((d) => d.id));
    const scrolled = [...live.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    live.innerHTML = text;
    for (const one of live.querySelectorAll("details")) {
      if (open.has(one.id)) one.open = true;
      if (shut.has(one.id)) one.open = false;
    }
    live.querySelectorAll(".scroll").forEach((one, n) => (one.scrollLeft = scrolled[n] || 0));
    heard = Date.now();
  } catch {
    // The age below says that nothing came.
  }
}

function tell() {
  const seconds = Math.round((Date.now() - heard) / 1000);
  age.textContent = seconds < 12 ? "live" : "no answer for " + seconds + " s";
  age.className = seconds < 12 ? "age" : "age stale";
}

setInterval(refresh, 5000);
setInterval(tell, 1000);
tell();
document.addEventListener("visibilitychange", refresh);
