"use strict";
(function () {
  // Figures are drawn when they come into view: a page of many segments opens at once.
  const drawn = new Set();
  // In a picture there is nothing to do with keys: the Tab key passes it by. Bokeh draws in shadow roots.
  function leaveTabOrder(root) {
    root.querySelectorAll("*").forEach((one) => {
      if (one.tabIndex >= 0) one.tabIndex = -1;
      if (one.shadowRoot) leaveTabOrder(one.shadowRoot);
    });
  }
  function draw(place) {
    const name = place.dataset.figure;
    if (drawn.has(name)) return;
    drawn.add(name);
    const item = JSON.parse(document.querySelector(`[data-item="${name}"]`).textContent);
    Bokeh.embed.embed_item(item, place).then(() => {
      leaveTabOrder(place);
      place.classList.add("drawn");
    });
  }
  const places = [...document.querySelectorAll("[data-figure]")];
  const watcher = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "400px" },
  );
  places.forEach((place) => watcher.observe(place));
  window.addEventListener("beforeprint", () => places.filter((place) => place.offsetParent).forEach(draw));

  // Radio buttons choose which panel of a group is shown.
  document.querySelectorAll(".switch input").forEach((button) =>
    button.addEventListener("change", () =>
      document.querySelectorAll(`.panel[data-group="${button.name}"]`).forEach((panel) => {
        panel.hidden = panel.id !== button.value;
      }),
    ),
  );

  // The map: axes, segments to select, and what is selected, in words.
  function people() {
    const found = Bokeh.documents.find((one) => one.get_model_by_name("people"));
    return found && { map: found.get_model_by_name("map"), source: found.get_model_by_name("people") };
  }
  function start() {
    const found = people();
    if (!found) return void window.setTimeout(start, 50);
    const { map, source } = found;
    for (const axis of ["x", "y"]) {
      const choice = document.getElementById(`axis-${axis}`);
      const label = axis === "x" ? map.below[0] : map.left[0];
      const change = () => {
        source.data = { ...source.data, [axis]: source.data[choice.value] };
        label.axis_label = `component ${choice.value.slice(1)}`;
      };
      choice.addEventListener("change", change);
      if (choice.value !== (axis === "x" ? "c1" : "c2")) change(); // a browser that remembers
    }
    const buttons = [...document.querySelectorAll(".legend button")];
    buttons.forEach((button) =>
      button.addEventListener("click", () => {
        const wanted = button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.segment;
        const indices = [];
        if (wanted !== "") source.data.cluster.forEach((one, i) => one === Number(wanted) && indices.push(i));
        source.selected.indices = indices;
      }),
    );
    const told = document.getElementById("selection");
    source.selected.properties.indices.change.connect(() => {
      const counts = new Map();
      for (const i of source.selected.indices) {
        counts.set(source.data.cluster[i], (counts.get(source.data.cluster[i]) || 0) + 1);
      }
      const ordered = [...counts].sort((one, other) => other[1] - one[1]);
      const parts = ordered.slice(0, 4).map(([segment, n]) => `${n} of segment ${segment}`);
      if (ordered.length > 4) parts.push(`${ordered.length - 4} more segments`);
      const n = source.selected.indices.length;
      told.textContent = n ? `${n} selected: ${parts.join(", ")}.` : "Nobody is selected.";
      const only = ordered.length === 1 ? ordered[0] : [null, 0];
      const whole = source.data.cluster.filter((one) => one === only[0]).length;
      buttons.forEach((button) =>
        button.setAttribute(
          "aria-pressed",
          String(button.dataset.segment === String(only[0]) && only[1] === whole),
        ),
      );
    });
  }
  if (document.getElementById("selection")) start();
})();
