// Keys, what is chosen, and text that is not lost. Everything here is also done by links and forms without it.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const root = document.documentElement;
  root.classList.add("scripted");

  // ------------------------------------------------------------------------------------------------ look
  const theme = $("#theme"), size = $("#size");
  const dark = () => (root.dataset.theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : root.dataset.theme === "dark");
  function look(name, large) {
    root.dataset.theme = name;
    root.dataset.size = large ? "large" : "normal";
    if (theme) theme.value = name;
    if (size) size.checked = large;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `look=${name}.${large ? "large" : "normal"}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }
  theme?.addEventListener("change", () => look(theme.value, size.checked));
  size?.addEventListener("change", () => look(theme.value, size.checked));

  // ---------------------------------------------------------------------------------------------- chosen
  let chosen = null;
  function choose(sentence, focus = true) {
    if (!sentence) return;
    chosen?.classList.remove("chosen");
    $$(".fact.lit, .timeline .lit, .film .lit").forEach((one) => one.classList.remove("lit"));
    chosen = sentence;
    sentence.classList.add("chosen");
    if (focus) sentence.focus({ preventScroll: true });
    nearest(sentence);
    const cites = (sentence.dataset.cites || "").split(" ").filter(Boolean);
    cites.forEach(light);
    if (cites[0]) reveal(cites[0]);
  }
  function light(id) {
    document.getElementById(id)?.classList.add("lit");
    $$(`#timeline [data-fact="${CSS.escape(id)}"]`).forEach((one) => one.classList.add("lit"));
  }
  const motion = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth");
  // Above the line that stands at the bottom of the report.
  const nearest = (one) => one.scrollIntoView({ block: "nearest", behavior: "instant" });
  function reveal(id) {
    const fact = document.getElementById(id), panel = $("#facts");
    if (!fact || !panel || panel.scrollHeight <= panel.clientHeight + 4) return; // one column: it would take the reader away
    panel.scrollTo({ top: fact.offsetTop - 48, behavior: "instant" });
  }
  function fact(id) {
    $$(".fact.lit").forEach((one) => one.classList.remove("lit"));
    light(id);
    const one = document.getElementById(id);
    one?.scrollIntoView({ block: "nearest", behavior: motion() });
    one?.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-fact]");
    if (link && event.button === 0 && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      fact(link.dataset.fact);
      return;
    }
    if (event.target.closest("a.drop")) {
      event.preventDefault();
      forget(event.target.closest("li"));
      event.target.closest("li").remove();
      return;
    }
    if (event.target.closest("a.close")) {
      event.preventDefault();
      $("#dialog").close();
      return;
    }
    const back = event.target.closest(".cited a");
    if (back) {
      event.preventDefault();
      choose(document.getElementById(back.hash.slice(1)));
      return;
    }
    const sentence = event.target.closest(".sentence");
    if (sentence && !event.target.closest("a, button, input, textarea, label, form")) choose(sentence, !getSelection()?.toString());
  });

  // ------------------------------------------------------------------------- text that was typed is kept
  const keep = (field) => `typed ${field.dataset.keep}`;
  document.addEventListener("input", (event) => {
    if (event.target.dataset?.keep) sessionStorage.setItem(keep(event.target), event.target.value);
  });
  function bring(within) {
    for (const field of $$("[data-keep]", within)) {
      const typed = sessionStorage.getItem(keep(field));
      if (typed !== null && typed !== field.value && !field.closest("form").querySelector(".alert")) field.value = typed;
    }
  }
  const forget = (within) => within && $$("[data-keep]", within).forEach((field) => sessionStorage.removeItem(keep(field)));

  // -------------------------------------------------------------------------------------------- swapping
  const body = document.body;
  body.addEventListener("htmx:beforeRequest", (event) => {
    const section = event.detail.elt.closest?.(".section");
    if (event.detail.elt.matches?.(".add") && $("#new", section)) {
      event.preventDefault(); // it is open already
      $("#new textarea", section).focus();
    }
  });
  body.addEventListener("htmx:afterRequest", (event) => {
    const { requestConfig, successful } = event.detail, elt = requestConfig.elt; // which may be swapped out by now
    if (successful && requestConfig.verb === "post") {
      forget(elt.closest("form"));
      if (elt.matches(".ask")) elt.reset();
    }
    if (successful && elt.matches(".cancel")) forget(elt.closest("form"));
  });
  // Our own change gave the report a new number: forms that are still open were made for the one before.
  let number = $("#standing")?.dataset.number;
  body.addEventListener("htmx:oobAfterSwap", () => {
    const now = $("#standing")?.dataset.number;
    if (now === number) return;
    $$(`input[name="after"][value="${number}"]`).forEach((field) => (field.value = now));
    number = now;
  });
  body.addEventListener("htmx:afterSettle", (event) => {
    const target = event.detail.target;
    if (target.id === "dialog" && target.children.length && !target.open) target.showModal();
    bring(document);
    const field = $(".sentence.open [autofocus]:not([data-met])");
    if (field) {
      field.dataset.met = "";
      field.focus();
      if (field.matches("textarea")) field.setSelectionRange(field.value.length, field.value.length);
      nearest(field.closest(".open"));
    }
    number = $("#standing")?.dataset.number ?? number;
    const fresh = $("[data-focus]");
    if (fresh) {
      fresh.removeAttribute("data-focus");
      choose(fresh);
    }
    const alert = $(".sentence.open .alert");
    alert?.scrollIntoView({ block: "center", behavior: "instant" });
  });
  let leaving = false; // what a page that is left had still asked for is not missed
  addEventListener("beforeunload", () => (leaving = true));
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"])
    body.addEventListener(name, (event) => {
      const status = event.detail.xhr?.status;
      if (status === 401 || leaving) return;
      say(status ? `Not done: the server answered ${status}. What you typed is still here.` : "Not done: the server does not answer. What you typed is still here.");
    });
  let hush = 0;
  function say(text) {
    const toast = $("#toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(hush);
    hush = setTimeout(() => (toast.hidden = true), 12000);
  }

  // ------------------------------------------------------------------------------------------------ keys
  const items = () => $$("#report .sentence, #rows tr");
  const at = () => document.activeElement?.closest?.(".sentence, #rows tr") ?? (chosen?.isConnected ? chosen : null);
  function step(by) {
    const all = items(), here = all.indexOf(at());
    const next = all[Math.min(Math.max(here < 0 ? (by > 0 ? 0 : all.length - 1) : here + by, 0), all.length - 1)];
    if (!next) return;
    if (next.matches("tr")) {
      $("a.row", next).focus({ preventScroll: true });
      nearest(next);
    } else choose(next);
  }
  const press = (selector, within) => {
    const found = within && $(selector, within);
    found?.click();
    return Boolean(found);
  };
  const go = (id) => {
    const place = document.getElementById(id);
    place?.scrollIntoView({ block: "start", behavior: motion() });
    place?.focus({ preventScroll: true });
  };
  let cited = 0;
  const keys = {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    Enter: () => press(".act.edit, a.row", at()),
    a: () => press(".act.add", at()?.closest(".section") ?? $("#list-findings")?.closest(".section")),
    x: () => press(".act.strike", at()),
    u: () => press(".act.restore", at()),
    s: () => press("#standing .sign, #standing .addendum", document),
    c: () => {
      const ids = (at()?.dataset.cites || "").split(" ").filter(Boolean);
      if (ids.length) reveal(ids[cited++ % ids.length]);
    },
    l: () => look(root.dataset.theme, root.dataset.size !== "large"),
    d: () => look(dark() ? "light" : "dark", root.dataset.size === "large"),
    "/": () => ($("#text") ?? $("#question"))?.focus(),
    "?": () => $("#help").showModal(),
  };
  const places = { t: () => go("timeline"), r: () => go("report"), f: () => go("facts"), q: () => go("questions"), l: () => (location.href = "/") };
  let after_g = 0;
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, textarea, select");
    if (field && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      field.form.requestSubmit();
      return;
    }
    if (event.key === "Escape") {
      const form = field?.closest(".sentence.open") ?? (document.activeElement === document.body ? $(".sentence.open") : null);
      if (form && !$("dialog[open]")) press(".cancel", form);
      else if (field && !field.closest("dialog")) field.blur();
      return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    const waits = Date.now() - after_g < 1200;
    after_g = 0;
    if (waits && places[event.key]) {
      event.preventDefault();
      places[event.key]();
    } else if (event.key === "g") after_g = Date.now();
    else if (keys[event.key] && !(event.key === "Enter" && event.target.closest("a, button"))) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  $("#help-button")?.addEventListener("click", () => $("#help").showModal());
  $("#dialog")?.addEventListener("close", () => $("#dialog").replaceChildren());
  bring(document);
  if (location.hash) choose(document.querySelector(`.sentence${CSS.escape ? "#" + CSS.escape(location.hash.slice(1)) : location.hash}`), false);
})();
