// Brings the interactive figures to life: the page's colours, light or dark; keys; drawn when they come into view.
// Until then, without it, and in print, the page shows the drawings that it holds as SVG.
"use strict";
(async () => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const places = [...document.querySelectorAll("div.interactive")];
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, // nothing leaves the page
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ink = colour("--text");
    const size = 0.82 * parseFloat(style.fontSize);
    const axis = {
      gridcolor: colour("--line"), linecolor: colour("--faint"), zerolinecolor: colour("--faint"), zerolinewidth: 1,
      automargin: true, exponentformat: "none", ticklabelstandoff: 5, title: { standoff: 10, font: { size } },
    };
    const layout = {
      font: { color: ink, size, family: getComputedStyle(document.body).fontFamily }, colorway: [ink],
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
      hoverlabel: { bgcolor: colour("--band"), bordercolor: colour("--faint"), font: { color: ink }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--faint"), activecolor: ink },
      annotationdefaults: { font: { color: ink, size: 1.05 * size } },
    };
    return { layout, data: { scatter: [{ error_x: { color: ink }, error_y: { color: ink } }], bar: [{ error_x: { color: ink } }] } };
  }

  // What a script element of the page holds: gzip, in base64.
  async function unpacked(script) {
    const bytes = Uint8Array.from(atob(script.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  async function show(place) {
    const figure = place.parentElement;
    const plot = place.querySelector(".plot");
    const { data, layout } = JSON.parse(await unpacked(place.querySelector("script")));
    const height = (layout.height * parseFloat(getComputedStyle(document.documentElement).fontSize)) / 16;
    figure.classList.add("drawn"); // before: what is hidden has no width to draw in
    try {
      await Plotly.react(plot, data, { ...layout, height, template: theme() }, config);
    } catch (error) {
      figure.classList.remove("drawn"); // the drawing in SVG is back
      throw error;
    }
    if (!place.dataset.drawn) walk(place);
    place.dataset.drawn = "yes";
  }

  // Every point that can be hovered over can be reached by keys: left and right go from point to point, up and down
  // from line to line, Escape ends it. What is hovered over is read out.
  function walk(place) {
    const plot = place.querySelector(".plot");
    const spoken = place.querySelector("[aria-live]");
    let [line, point] = [0, -1];
    const say = () => { spoken.textContent = [...plot.querySelectorAll(".hoverlayer .hovertext")].map(words).join("; "); };
    const usable = () => (plot._fullData || []).filter((trace) => trace.visible === true && trace.hoverinfo !== "skip");
    place.addEventListener("keydown", (event) => {
      const lines = usable();
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (event.key === "Escape") Plotly.Fx.unhover(plot);
      if (!step || !lines.length) return;
      event.preventDefault();
      if (step[0]) [line, point] = [(line + step[0] + lines.length) % lines.length, 0];
      const trace = lines[line];
      const values = trace.orientation === "h" ? trace.y : trace.x;
      do point = (point + (step[1] || 1) + values.length) % values.length;
      while (Number.isNaN(Number(trace.x[point])) && values.length > 1);
      Plotly.Fx.hover(plot, [{ curveNumber: trace.index, pointNumber: point }], trace.xaxis + trace.yaxis);
      setTimeout(say, 150); // plotly draws hover labels at intervals, and tells nobody when it was asked by a program
    });
  }

  function words(label) {
    const lines = [...label.querySelectorAll("tspan.line")].map((one) => one.textContent);
    return lines.length ? lines.join(", ") : label.textContent;
  }

  if (!window.DecompressionStream) return; // a browser of before 2023
  const plotly = document.createElement("script");
  plotly.textContent = await unpacked(document.getElementById("plotly"));
  document.head.append(plotly); // the policy knows its hash
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      show(target.querySelector("div.interactive"));
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => seen.observe(place.parentElement));
  dark.addEventListener("change", () => places.filter((place) => place.dataset.drawn).forEach(show));
})();
