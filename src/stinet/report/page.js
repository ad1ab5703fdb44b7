document.documentElement.classList.add("js");
for (const pair of document.querySelectorAll(".pair")) {
  const view = pair.querySelector(".view");
  const stage = pair.querySelector(".stage");
  const border = pair.querySelector("input");
  const size = pair.querySelector("select");
  const width = Number(pair.querySelector("img").getAttribute("width"));
  const move = () => {
    const share = border.value / 2;
    stage.style.setProperty("--border", share + "%");
    border.setAttribute("aria-valuetext",
      `${Math.round(share)} % ${border.dataset.before}, ${Math.round(100 - share)} % ${border.dataset.after}`);
  };
  const resize = () => {
    const factor = Number(size.value);
    stage.style.width = factor ? `${factor * width}px` : "";
    stage.style.maxWidth = factor ? "none" : `${2 * width}px`;
    stage.classList.toggle("large", factor > 1);
    if (factor) view.tabIndex = 0;
    else view.removeAttribute("tabindex");
  };
  border.addEventListener("input", move);
  size.addEventListener("change", resize);
  move();
  resize();
}
