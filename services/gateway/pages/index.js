"use strict";

const PAUSE_MS = 3000;

function cell(row, text, name) {
  const made = document.createElement("td");
  made.textContent = text;
  if (name) made.className = name;
  row.append(made);
}

function show(report) {
  const overall = document.getElementById("overall");
  overall.textContent = report.status;
  overall.className = `badge ${report.status}`;
  const body = document.querySelector("#checks tbody");
  body.replaceChildren();
  for (const [part, check] of Object.entries(report.checks || {})) {
    const row = document.createElement("tr");
    cell(row, part);
    cell(row, check.ok ? "up" : `down: ${check.error}`, check.ok ? "up" : "down");
    cell(row, `${check.took_ms} ms`);
    body.append(row);
  }
}

async function refresh() {
  try {
    show(await (await fetch("/readyz", { cache: "no-store" })).json());
  } catch {
    show({ status: "unreachable" });
  }
  setTimeout(refresh, PAUSE_MS);
}

async function showBuild() {
  const build = await (await fetch("/api/v1/version")).json();
  const commit = build.commit ? ` (${build.commit.slice(0, 12)})` : "";
  document.getElementById("build").textContent = `Version ${build.version}${commit}`;
}

refresh();
showBuild();
