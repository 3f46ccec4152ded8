// A slider beside every number that names one (data-slider="least greatest step|log"), and short addresses: what was
// left empty is not sent.
(() => {
  const add = (input) => {
    if (input.dataset.slided) return;
    input.dataset.slided = "yes";
    const [least, greatest, step] = input.dataset.slider.split(" ");
    const log = step === "log";
    const slider = document.createElement("input");
    slider.type = "range";
    slider.className = "slider";
    slider.setAttribute("aria-label", input.labels.length ? input.labels[0].textContent : input.name);
    slider.min = log ? Math.log(Number(least)) : least;
    slider.max = log ? Math.log(Number(greatest)) : greatest;
    slider.step = log ? "any" : step;
    const toSlider = () => {
      const value = Number(input.value || input.placeholder || least);
      slider.value = log ? Math.log(Math.max(value, Number(least))) : value;
    };
    const toInput = () => {
      input.value = log ? Math.round(Math.exp(Number(slider.value))) : Number(slider.value).toFixed(2).replace(/\.?0+$/, "");
    };
    slider.addEventListener("input", toInput);
    input.addEventListener("input", toSlider);
    toSlider();
    input.after(slider);
  };
  const addAll = () => document.querySelectorAll("input[data-slider]").forEach(add);
  document.addEventListener("htmx:configRequest", (event) => {
    if (!event.target.closest("#assumptions")) return;
    for (const name of [...event.detail.formData.keys()]) {
      if (event.detail.formData.get(name) === "") event.detail.formData.delete(name);
    }
  });
  document.addEventListener("DOMContentLoaded", addAll);
})();
