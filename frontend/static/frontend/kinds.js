// Settings that the chosen kind does not read are not sent, so that the address stays short. CSS alone hides them.
const need = document.getElementById("need-form");
const choose = () => {
  for (const group of need.querySelectorAll("[class^='only-']")) group.disabled = group.className !== `only-${need.elements.kind.value}`;
};
need.elements.kind.addEventListener("change", choose);
choose();
