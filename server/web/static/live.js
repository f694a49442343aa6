// What changes on the server, shown on a page that somebody looks at. A hidden page holds no stream: a browser opens six
// connections to a server, no more.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  let source = null, seen = false;

  function open() {
    const place = $("[data-live]");
    if (source || !place || document.hidden) return;
    source = new EventSource(place.dataset.live);
    source.addEventListener("open", () => {
      if (seen) refresh();
      seen = true;
    });
    source.addEventListener("rows", (event) => rows(event.data));
    source.addEventListener("boxes", (event) => $("#boxes") && ($("#boxes").innerHTML = event.data));
    source.addEventListener("report", (event) => news(JSON.parse(event.data)));
    source.addEventListener("ended", ended);
    source.addEventListener("error", () => source?.readyState === EventSource.CLOSED && ended());
  }
  function close() {
    source?.close();
    source = null;
  }
  function ended() {
    close();
    note("You are not logged in any more.", location.href, "Log in");
  }

  // The list, after a time without a stream: as it is now.
  function refresh() {
    if ($("#list")) htmx.ajax("GET", location.href, { target: "#list", select: "#list", swap: "outerHTML" });
  }
  function rows(html) {
    const made = document.createElement("template");
    made.innerHTML = `<table><tbody>${html}</tbody></table>`;
    const table = $("#rows");
    if (!table) return;
    let more = 0;
    for (const row of made.content.querySelectorAll("tr")) {
      const old = document.getElementById(row.id);
      if (old) {
        const focused = old.contains(document.activeElement);
        old.replaceWith(row);
        if (focused) row.querySelector("a.row").focus({ preventScroll: true });
      } else if (row.dataset.at > (table.rows[0]?.dataset.at ?? "")) {
        if ($("#list").hasAttribute("data-plain")) {
          table.prepend(row);
          row.classList.add("fresh");
          $("#list .empty")?.remove();
        } else more += 1;
      }
    }
    if (more) {
      const place = $("#more");
      place.dataset.count = Number(place.dataset.count ?? 0) + more;
      place.textContent = `${place.dataset.count} more came in. `;
      const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Show" });
      place.append(link);
      place.hidden = false;
    }
  }
  // The report: that it is another one now. It is not changed under somebody's hands.
  function news(told) {
    const standing = $("#standing");
    const number = Number(standing?.dataset.number ?? 0), revision = Number(standing?.dataset.revision ?? 0);
    if (told.revision > revision) note(`The box has sent revision ${told.revision} of this procedure.`, location.pathname.replace(/\d+$/, told.revision), "Show it");
    else if (told.revision === revision && told.number > number) setTimeout(() => later(told), 600); // ours may be on its way
  }
  function later(told) {
    if (told.number > Number($("#standing")?.dataset.number ?? 0))
      note(`This report was changed: version ${told.number}.`, location.pathname, "Show it");
  }
  function note(text, href, words) {
    const place = $("#news") ?? $("#more");
    if (!place) return;
    const line = document.createElement("p");
    line.className = "banner note";
    const link = Object.assign(document.createElement("a"), { href, textContent: words });
    line.append(`${text} `, link);
    place.replaceChildren(line);
    place.hidden = false;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
})();
