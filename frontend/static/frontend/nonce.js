// The page's policy lets in no style element without its nonce, and plotly makes style elements without one.
// Every style element that a script makes on this page gets the nonce of this very script.
(() => {
  const nonce = document.currentScript.nonce;
  const create = document.createElement.bind(document);
  document.createElement = (name, options) => {
    const element = create(name, options);
    if (String(name).toLowerCase() === "style") element.nonce = nonce;
    return element;
  };
})();
