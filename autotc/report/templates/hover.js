(() => {
  const tip = document.getElementById("tip");
  const show = (event) => {
    const told = event.target.closest("[data-tip]");
    if (!told) { tip.style.display = "none"; return; }
    tip.textContent = told.dataset.tip;
    tip.style.display = "block";
    const box = told.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.x + box.width / 2 - size.width / 2), innerWidth - size.width - 8);
    const above = box.y - size.height - 10;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : box.y + box.height + 10}px`;
  };
  for (const name of ["mouseover", "focusin"]) document.addEventListener(name, show);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.style.display = "none"; });
  document.addEventListener("focusout", () => { tip.style.display = "none"; });
})();
