// Comfort only: every page works without this file.
(() => {
  "use strict";
  const $ = (selector) => document.querySelector(selector);

  // Copy buttons appear only where copying works.
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll("button[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const text = document.getElementById(button.dataset.copy).textContent.trim();
        const status = $("#status");
        try {
          await navigator.clipboard.writeText(text);
          status.textContent = "Copied";
          button.dataset.done = "";
          setTimeout(() => delete button.dataset.done, 1600);
        } catch {
          status.textContent = "Copying was not allowed";
        }
      });
    }
  }

  // A choice in a filter applies at once; typed filters wait for Enter.
  for (const form of document.querySelectorAll("form[data-apply]")) {
    form.addEventListener("change", (event) => {
      if (event.target.matches("select, [type=checkbox], [type=radio]")) form.requestSubmit();
    });
    // Empty fields stay out of the address.
    form.addEventListener("submit", () => {
      for (const field of form.querySelectorAll("input, select")) field.disabled = !field.value;
    });
  }
  addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("form[data-apply] :disabled")) field.disabled = false;
  });

  // The button of a typed confirmation waits for the right word.
  for (const field of document.querySelectorAll("input[data-confirm]")) {
    const button = field.form.querySelector("button[type=submit]");
    const check = () => { button.disabled = field.value !== field.dataset.confirm; };
    field.addEventListener("input", check);
    check();
  }

  // What is ticked is counted beside the form that judges it.
  const judging = $("form[data-judge]");
  if (judging) {
    const count = judging.querySelector("[data-chosen]");
    const show = () => {
      const ticked = judging.querySelectorAll("[name=ids]:checked").length;
      count.textContent = ticked ? ` (${ticked} ticked)` : "";
    };
    judging.addEventListener("change", show);
    addEventListener("pageshow", show);
  }

  // What is going on is shown as it happens; without this file the page asks again by itself.
  const live = $("[data-live]");
  if (live) {
    const events = new EventSource(live.dataset.live);
    events.addEventListener("message", async () => {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const section = page.getElementById("source")?.closest("section");
      if (!section) return;
      if (!("live" in section.dataset)) {
        events.close();
        $("#status").textContent = "The analysis has ended";
      }
      // The form stays, so that its button does not move away from under the pointer.
      const now = $("#source").closest("section");
      const form = now.querySelector("form:focus-within, form:hover");
      const fresh = section.querySelector("form");
      if (form && fresh) fresh.replaceWith(form);
      now.replaceChildren(...section.childNodes);
    });
  }

  // On a wide window the filters stand open; here for browsers whose style sheets cannot do it.
  const filters = $("details[data-wide]");
  if (filters) {
    const wide = matchMedia("(min-width: 60rem)");
    const set = () => { filters.open = wide.matches; };
    wide.addEventListener("change", set);
    set();
  }

  // j and k walk the list, Enter opens, x ticks, t judges, / searches, u goes up.
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const items = [...document.querySelectorAll("[data-item]")];
    const here = items.indexOf(document.activeElement);
    const go = (index) => items[Math.max(0, Math.min(items.length - 1, index))]?.focus();
    const keys = {
      j: () => go(here + 1),
      k: () => go(here < 0 ? 0 : here - 1),
      "/": () => {
        const field = $("input[type=search]");
        if (!field) return;
        field.closest("details")?.setAttribute("open", "");
        field.focus();
        field.select();
      },
      x: () => items[here]?.closest("li")?.querySelector("[name=ids]")?.click(),
      t: () => {
        const field = $("[name=verdict]");
        if (!field) return;
        field.closest("details")?.setAttribute("open", "");
        field.focus();
      },
      u: () => { const up = $("[data-up]"); if (up) location.href = up.href; },
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
})();
