// A file dropped on a [data-drop] form goes into its file input. Without JavaScript the input is enough.
for (const form of document.querySelectorAll("[data-drop]")) {
  const input = document.getElementById(form.dataset.drop);
  const over = (on) => (event) => {
    event.preventDefault();
    form.classList.toggle("dropping", on);
  };
  for (const hint of form.querySelectorAll("[data-drop-hint]")) hint.hidden = false;
  form.addEventListener("dragover", over(true));
  form.addEventListener("dragleave", over(false));
  form.addEventListener("drop", (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  });
}
