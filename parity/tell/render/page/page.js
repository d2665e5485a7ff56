"use strict";
// The page is complete without this: it adds words beside what is pointed at, keys, and copying.
const tip = document.getElementById("tip");
const said = document.getElementById("said");

function show(words, x, y) {
  tip.textContent = words;
  tip.hidden = false;
  const room = 8, box = tip.getBoundingClientRect();
  const left = Math.max(room, Math.min(x + 14, innerWidth - box.width - room));
  const above = y - box.height - 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > room ? above : y + 18}px`;
}

function hide() {
  tip.hidden = true;
  again = null;
}

// What has the focus keeps its words beside it while the page moves.
let again = null;
function keep(place) {
  again = place;
  place();
}
addEventListener("scroll", () => again?.(), { passive: true, capture: true });

// Marks of charts. The words replace the browser's own tooltip, which the keyboard cannot reach.
for (const mark of document.querySelectorAll("[data-mark]")) {
  mark.querySelector("title")?.remove();
  const words = mark.getAttribute("aria-label");
  mark.addEventListener("pointermove", (event) => show(words, event.clientX, event.clientY));
  mark.addEventListener("pointerleave", hide);
  mark.addEventListener("blur", hide);
  mark.addEventListener("focus", () => keep(() => {
    const box = (mark.querySelector(".shape") ?? mark).getBoundingClientRect();
    show(words, box.left + box.width / 2, box.top);
  }));
}

// One stop of the Tab key for each chart; the arrow keys go from mark to mark.
for (const chart of document.querySelectorAll("[data-roving]")) {
  const marks = [...chart.querySelectorAll("[data-mark]")];
  marks[0]?.setAttribute("tabindex", "0");
  chart.addEventListener("keydown", (event) => {
    const at = marks.indexOf(document.activeElement);
    const to = {
      ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
      Home: 0, End: marks.length - 1,
    }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = marks[Math.max(0, Math.min(to, marks.length - 1))];
    marks[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

// Pictures: a pixel is pointed at in reference, port and difference together.
function digits(value, n) {
  if (!Number.isFinite(value)) return "not finite";
  const small = value !== 0 && Math.abs(value) < 1e-4;
  const short = small ? value.toExponential(n - 1).replace(/\.?0*e/, "e") : Number(value.toPrecision(n));
  return String(short).replace("e+", "e");
}

class Picture {
  constructor(source, images) {
    const { height, width, channel, block } = source.dataset;
    Object.assign(this, { height: +height, width: +width, channel, block: +block, images });
    this.source = source;
    this.row = this.column = 0;
  }

  get values() {
    if (!this.read) {
      const bytes = Uint8Array.from(atob(this.source.dataset.pixels), (c) => c.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      this.read = Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
    }
    return this.read;
  }

  words() {
    const place = this.row * this.width + this.column;
    const reference = this.values[place];
    const difference = this.values[place + this.height * this.width];
    const blocks = this.block > 1 ? ` (blocks of ${this.block} x ${this.block})` : "";
    return `row ${this.row}, column ${this.column}, channel ${this.channel}${blocks}\n` +
      `reference ${digits(reference, 5)}\nport ${digits(reference + difference, 5)}\n` +
      `difference ${digits(difference, 3)}`;
  }

  point(row, column, image) {
    this.row = Math.max(0, Math.min(row, this.height - 1));
    this.column = Math.max(0, Math.min(column, this.width - 1));
    Picture.clear();
    for (const each of this.images) {
      const cursor = document.createElement("span");
      const w = each.clientWidth / this.width, h = each.clientHeight / this.height;
      cursor.className = "cursor";
      cursor.style.left = `${each.offsetLeft + each.clientLeft + this.column * w}px`;
      cursor.style.top = `${each.offsetTop + each.clientTop + this.row * h}px`;
      cursor.style.width = `${w}px`;
      cursor.style.height = `${h}px`;
      each.offsetParent.append(cursor);
    }
    const place = () => {
      const box = image.getBoundingClientRect();
      show(
        this.words(),
        box.left + ((this.column + 0.5) / this.width) * box.width,
        box.top + (this.row / this.height) * box.height,
      );
    };
    if (document.activeElement === image) keep(place);
    else place();
  }

  static clear() {
    for (const cursor of document.querySelectorAll(".cursor")) cursor.remove();
    hide();
  }

  listen(pictures) {
    for (const image of this.images) {
      const pointed = (event) => {
        const box = image.getBoundingClientRect();
        this.point(
          Math.floor(((event.clientY - box.top) / box.height) * this.height),
          Math.floor(((event.clientX - box.left) / box.width) * this.width),
          image,
        );
      };
      image.addEventListener("pointermove", pointed);
      image.addEventListener("pointerdown", pointed);
      image.addEventListener("pointerleave", (event) => {
        if (event.pointerType !== "touch") Picture.clear(); // a finger is lifted to be able to read
      });
    }
    const first = this.images[0];
    first.addEventListener("focus", () => this.point(this.row, this.column, first));
    first.addEventListener("blur", Picture.clear);
    first.addEventListener("keydown", (event) => {
      const move = {
        ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      }[event.key];
      const turn = { PageDown: 1, PageUp: -1 }[event.key];
      if (move) {
        this.point(this.row + move[0], this.column + move[1], first);
        said.textContent = this.words();
      } else if (turn && pictures.length > 1) {
        const next = pictures[pictures.indexOf(this) + turn]?.images[0];
        if (next) {
          first.setAttribute("tabindex", "-1");
          next.setAttribute("tabindex", "0");
          next.focus();
        }
      } else {
        return;
      }
      event.preventDefault();
    });
  }
}

for (const trio of document.querySelectorAll(".trio")) {
  const picture = new Picture(trio, [...trio.querySelectorAll("img[data-side]")]);
  picture.listen([picture]);
}
for (const strip of document.querySelectorAll("[data-strip]")) {
  const rows = [...strip.tBodies[0].rows];
  const pictures = [...strip.querySelectorAll("thead th[data-pixels]")].map(
    (head) => new Picture(head, rows.map((row) => row.cells[head.cellIndex].querySelector("img")).filter(Boolean)),
  );
  for (const picture of pictures) {
    picture.listen(pictures);
    if (picture !== pictures[0]) picture.images[0].setAttribute("tabindex", "-1");
  }
}

// What has nothing to scroll is no stop of the Tab key.
const scrolls = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const more = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
    if (more) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});
for (const wide of document.querySelectorAll(".wide")) scrolls.observe(wide);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") Picture.clear();
});
document.addEventListener("pointerdown", Picture.clear, { capture: true });
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    said.textContent = button.textContent;
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}

// What a link leads to, and what is printed, is not closed.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", open);
open();
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.numbers)")) details.open = true;
});
