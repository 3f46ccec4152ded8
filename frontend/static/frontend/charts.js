// Draws every [data-chart] from the JSON beside it, again when htmx swaps it, and anew when the reader's theme changes.
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

  const draw = (box) => {
    const source = document.getElementById(box.dataset.chart);
    if (!source) return;
    const figure = JSON.parse(source.textContent);
    const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
    const fresh = !box.classList.contains("js-plotly-plot");
    if (fresh) box.replaceChildren();
    window.Plotly.react(box, figure.data, themed(figure.layout, box.clientWidth < 500), config);
  };

  const drawAll = (root) => {
    const boxes = [...root.querySelectorAll("[data-chart]")];
    if (root.matches && root.matches("[data-chart]")) boxes.push(root);
    boxes.forEach(draw);
  };

  // htmx takes the boxes away; plotly has listeners to give back.
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    if (event.target.classList.contains("js-plotly-plot")) window.Plotly.purge(event.target);
  });
  document.addEventListener("htmx:load", (event) => drawAll(event.detail.elt));
  dark.addEventListener("change", () => drawAll(document));
  if (!window.htmx) drawAll(document);
})();
