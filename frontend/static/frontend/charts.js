// Draws every [data-chart] from the JSON beside it, again when htmx swaps it, and anew when the reader's theme changes.
// A [data-chart-url] asks the server for its figure, and again for every stretch of time that the reader zooms to.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const themed = (layout, narrow) => {
    const style = getComputedStyle(document.body);
    const label = {
      bgcolor: style.getPropertyValue("--surface").trim(),
      bordercolor: style.getPropertyValue("--line-strong").trim(),
      font: { color: style.color },
    };
    const axis = (given) => ({ ...given, title: { ...(given && given.title), standoff: 8 } });
    return {
      ...layout,
      xaxis: axis(layout.xaxis),
      yaxis: axis(layout.yaxis),
      font: { ...layout.font, color: style.color, family: style.fontFamily, size: narrow ? 11 : 13 },
      margin: { ...layout.margin, b: 60, ...(narrow ? { l: 44, r: 14 } : {}) },
      hoverlabel: { ...layout.hoverlabel, ...label, align: "left" },
      modebar: { ...layout.modebar, color: style.getPropertyValue("--muted").trim(), activecolor: style.color },
      transition: still.matches ? { duration: 0 } : layout.transition,
    };
  };

  const show = (box, text, config) => {
    const figure = JSON.parse(text);
    const fresh = !box.classList.contains("js-plotly-plot");
    if (fresh) box.replaceChildren();
    window.Plotly.react(box, figure.data, themed(figure.layout, box.clientWidth < 500), {
      responsive: true,
      displaylogo: false,
      ...config,
    });
    return fresh;
  };

  const draw = (box) => {
    const source = document.getElementById(box.dataset.chart);
    if (source) show(box, source.textContent, { modeBarButtonsToRemove: ["select2d", "lasso2d"] });
  };

  const figures = new WeakMap(); // box → its figure's text
  const running = new WeakMap(); // box → the request under way
  const stretches = new Map(); // address → the stretch last asked for, which outlives a swap

  // Seconds on the chart's own clock; plotly writes a moment in UTC without saying so.
  const secondsOf = (box, moment) => {
    const text = String(moment).replace(" ", "T");
    const ms = typeof moment === "number" ? moment : Date.parse(text.includes("T") ? `${text}Z` : text);
    return (ms - box.layout.meta.origin_ms) / 1000;
  };

  const zoomed = (box) => (change) => {
    const [from, to] = change["xaxis.range"] || [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (from !== undefined && to !== undefined) ask(box, { from: secondsOf(box, from), to: secondsOf(box, to) });
  };

  const drawAsked = (box) => {
    const fresh = show(box, figures.get(box), {
      doubleClick: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "resetScale2d"],
    });
    if (!fresh) return;
    box.on("plotly_relayout", zoomed(box));
    box.on("plotly_doubleclick", () => ask(box, {}));
  };

  const setStretch = (url, stretch) => {
    for (const name of ["from", "to"]) url.searchParams.delete(name);
    if (!(stretch.to > stretch.from)) return;
    url.searchParams.set("from", stretch.from.toFixed(4));
    url.searchParams.set("to", Math.max(stretch.to, stretch.from + 0.001).toFixed(4));
  };

  // The files beside a chart show what the chart shows.
  const linkStretch = (box, stretch) => {
    for (const link of document.querySelectorAll(`[data-stretch="${box.id}"] a`)) {
      const url = new URL(link.href);
      setStretch(url, stretch);
      link.href = url;
    }
  };

  const ask = async (box, stretch) => {
    const url = new URL(box.dataset.chartUrl, window.location.href);
    const request = new AbortController();
    if (running.has(box)) running.get(box).abort();
    running.set(box, request);
    stretches.set(url.pathname, stretch);
    url.searchParams.set("width", Math.max(100, Math.round(box.clientWidth)));
    setStretch(url, stretch);
    linkStretch(box, stretch);
    try {
      const response = await fetch(url, { signal: request.signal });
      if (!response.ok) throw new Error(response.statusText);
      figures.set(box, await response.text());
      drawAsked(box);
    } catch (error) {
      if (error.name === "AbortError" || figures.has(box)) return;
      const told = document.createElement("p");
      told.className = "chart-wait";
      told.textContent = box.dataset.chartFailed;
      box.replaceChildren(told);
    }
  };

  const askOnce = (box) => {
    if (figures.has(box)) drawAsked(box);
    else ask(box, stretches.get(new URL(box.dataset.chartUrl, window.location.href).pathname) || {});
  };

  // Buttons that zoom a chart to a stage.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    const box = button && document.getElementById(button.dataset.zoom);
    if (!box) return;
    ask(box, "from" in button.dataset ? { from: Number(button.dataset.from), to: Number(button.dataset.to) } : {});
  });

  const each = (root, selector, act) => {
    const found = [...root.querySelectorAll(selector)];
    if (root.matches && root.matches(selector)) found.push(root);
    found.forEach(act);
  };

  const drawAll = (root) => {
    each(root, "[data-chart]", draw);
    each(root, "[data-chart-url]", askOnce);
    each(root, "[data-zooms]", (buttons) => buttons.removeAttribute("hidden"));
  };

  // htmx takes the boxes away; plotly has listeners to give back.
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    if (event.target.classList.contains("js-plotly-plot")) window.Plotly.purge(event.target);
  });
  document.addEventListener("htmx:load", (event) => drawAll(event.detail.elt));
  dark.addEventListener("change", () => drawAll(document));
  if (!window.htmx) drawAll(document);
})();
