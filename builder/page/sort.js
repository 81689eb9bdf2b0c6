"use strict";
// A click on a heading sorts by it, a second click the other way round; the address keeps it: #sort=package-files-down
function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const number = table.tHead.rows[0].cells[column].classList.contains("number");
  const key = row => number ? Number(row.cells[column].dataset.value) : row.cells[column].textContent;
  const rows = Array.from(body.rows).map((row, at) => ({ row, at, key: key(row) }));
  rows.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.at - b.at) * (descending && a.key !== b.key ? -1 : 1));
  body.append(...rows.map(each => each.row));
  Array.from(table.tHead.rows[0].cells).forEach((cell, at) => {
    if (at === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => {
      const first = cell.classList.contains("number") ? "descending" : "ascending";
      const before = cell.getAttribute("aria-sort");
      const descending = (before === null ? first : before === "ascending" ? "descending" : "ascending") === "descending";
      sortBy(table, column, descending);
      history.replaceState(null, "", "#sort=" + cell.id + (descending ? "-down" : "-up"));
    });
  });
}
const asked = /^#sort=([a-z-]+)-(up|down)$/.exec(location.hash);
const heading = asked && document.getElementById(asked[1]);
if (heading && heading.tagName === "TH") sortBy(heading.closest("table"), heading.cellIndex, asked[2] === "down");
