"use strict";
// Sorts the variants, and lights up a variant wherever it appears.
(() => {
  const readout = document.getElementById("readout");
  let current = null;

  function point(number) {
    if (number === current) return;
    current = number;
    document.querySelectorAll(".on").forEach((one) => one.classList.remove("on"));
    document.querySelectorAll(".plots svg").forEach((one) => one.classList.toggle("pointed", number !== null));
    if (readout) readout.textContent = "";
    if (number === null) return;
    if (readout) readout.textContent = document.querySelector(`.point[data-v="${number}"] title`)?.textContent ?? "";
    document.querySelectorAll(`[data-v="${number}"]`).forEach((one) => one.classList.add("on"));
  }
  const numberAt = (target) => target.closest("[data-v]")?.dataset.v ?? null;
  document.addEventListener("pointerover", (event) => point(numberAt(event.target)));
  document.addEventListener("click", (event) => {
    const number = event.target.closest(".point, .card") ? numberAt(event.target) : null;
    if (number) document.getElementById(`v${number}`)?.scrollIntoView({ block: "center" });
  });

  const table = document.querySelector(".variants");
  if (!table) return;
  const headings = [...table.querySelectorAll(".sortable th")];
  const value = (row, column) => {
    const cell = row.cells[column];
    if (cell.tagName === "TH") return cell.textContent;
    const number = parseFloat(cell.dataset.s ?? cell.textContent.replace(/,/g, ""));
    return Number.isNaN(number) ? null : number;
  };
  function sort(column, descending) {
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
    });
    body.append(...rows);
    headings.forEach((one) => one.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  }
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(heading.firstChild ?? "");
    heading.prepend(button);
    button.addEventListener("click", () =>
      sort(column, heading.getAttribute("aria-sort") === "ascending"));
  });
})();
