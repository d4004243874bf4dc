// Three things a page can do: change its theme, sort and filter tables, explain a matrix cell.
// Without it everything can be read. It loads nothing and keeps nothing. Names are data: they are
// set as text, never as markup.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- theme
  const button = one("[data-theme-button]");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () =>
    (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const named = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.parentElement.hidden = false;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    named();
  });
  system.addEventListener("change", named);
  named();

  // ---- tables: sorted by a click on a heading, filtered by a word
  const sortedBy = (column, up) => (first, second) => {
    const [a, b] = [first, second].map((row) => row.cells[column]);
    const order = "value" in a.dataset
      ? Number(a.dataset.value) - Number(b.dataset.value)
      : a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
    return up ? order : -order;
  };
  for (const table of all("table[data-sortable]")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      if ("plain" in head.dataset) return;
      const press = document.createElement("button");
      press.type = "button";
      press.textContent = head.textContent;
      head.replaceChildren(press);
      press.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(sortedBy(column, up)));
      });
    });
    const tools = one(`[data-for="${table.id}"]`);
    if (!tools) continue;
    const rows = [...table.tBodies[0].rows];
    tools.hidden = rows.length < 12;
    one("input", tools).addEventListener("input", (event) => {
      const word = event.target.value.trim().toLowerCase();
      rows.forEach((row) => {
        row.hidden = !row.cells[0].textContent.toLowerCase().includes(word);
      });
      const left = rows.filter((row) => !row.hidden).length;
      one("[data-shown]", tools).textContent = word ? `${left} of ${rows.length}` : "";
    });
  }

  // ---- the confusion matrix
  const matrix = one("#matrix");
  if (!matrix) return;
  const { names, counts, rowTotals, columnTotals } = JSON.parse(one("#matrix-data").textContent);
  const columnHeads = all("thead th span", matrix);
  const rowHeads = all("tbody th", matrix);
  const grid = [...matrix.tBodies[0].rows].map((row) => [...row.cells].slice(1));
  const given = names.map((_, index) => index);
  const errors = given.map((k) =>
    rowTotals[k] + columnTotals[k] - 2 * counts[k][k]);
  const worst = [...given].sort((a, b) => errors[b] - errors[a] || a - b);
  const state = { mode: "counts", order: given, errorsOnly: false };
  const share = (count, total) => (total ? count / total : 0);
  const percent = (value, digits) => `${(100 * value).toFixed(digits)}%`;

  const shade = (value, right) => {
    if (value <= 0) return "zero";
    const level = Math.ceil(9 * Math.min(1, right ? value : Math.sqrt(value)) - 1e-9);
    return (right ? "g" : "b") + Math.max(1, level);
  };
  const shown = (row, column) => {
    const count = counts[row][column];
    const total = state.mode === "columns" ? columnTotals[column] : rowTotals[row];
    const value = share(count, total);
    const text = state.mode === "counts" ? String(count) : (100 * value).toFixed(0);
    return { text, name: shade(value, row === column) };
  };
  const draw = () => {
    state.order.forEach((row, y) => {
      rowHeads[y].textContent = columnHeads[y].textContent = names[row];
      state.order.forEach((column, x) => {
        const cell = grid[y][x];
        const { text, name } = shown(row, column);
        const hidden = state.errorsOnly && row === column;
        cell.textContent = hidden ? "" : text;
        cell.className = hidden ? "zero" : name;
      });
    });
  };

  const readout = one("[data-readout]");
  readout.hidden = false;
  let marked = null;
  const say = (y, x) => {
    const [row, column] = [state.order[y], state.order[x]];
    const count = counts[row][column];
    const images = `${count.toLocaleString("en")} of ${rowTotals[row].toLocaleString("en")} images`;
    const verb = row === column ? "are called so" : `are called ${names[column]}`;
    readout.textContent =
      `${images} of ${names[row]} ${verb} (${percent(share(count, rowTotals[row]), 1)}), ` +
      `${percent(share(count, columnTotals[column]), 1)} of all answers ${names[column]}.`;
    if (marked) marked.classList.remove("on");
    marked = grid[y][x];
    marked.classList.add("on");
  };
  const placeOf = (cell) => {
    const y = grid.findIndex((row) => row.includes(cell));
    return y < 0 ? null : [y, grid[y].indexOf(cell)];
  };
  for (const event of ["pointerover", "click"]) {
    matrix.addEventListener(event, ({ target }) => {
      const place = target instanceof HTMLTableCellElement ? placeOf(target) : null;
      if (place) say(...place);
    });
  }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  matrix.tabIndex = 0;
  matrix.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const [y, x] = marked ? placeOf(marked) : [0, -1];
    const inside = (index) => Math.min(grid.length - 1, Math.max(0, index));
    say(inside(y + step[0]), inside(x + step[1]));
  });

  const tools = one('[data-for="matrix"]');
  tools.hidden = false;
  const pressed = (target, on) => target.setAttribute("aria-pressed", String(on));
  for (const choice of all("[data-mode]", tools)) {
    choice.addEventListener("click", () => {
      state.mode = choice.dataset.mode;
      all("[data-mode]", tools).forEach((other) => pressed(other, other === choice));
      draw();
    });
  }
  one("[data-order]", tools).addEventListener("click", ({ currentTarget }) => {
    state.order = state.order === given ? worst : given;
    pressed(currentTarget, state.order === worst);
    draw();
  });
  one("[data-errors]", tools).addEventListener("click", ({ currentTarget }) => {
    state.errorsOnly = !state.errorsOnly;
    pressed(currentTarget, state.errorsOnly);
    draw();
  });
})();
