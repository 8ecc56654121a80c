// A line chart of the latest values, as SVG: sharp on every screen, coloured by the style sheet.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 52, right: 8, top: 8, bottom: 8 };

function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Round up to a number that is 1, 2 or 5 with zeros, or (base 2) a power of two. */
export function roundUp(value, base = 10) {
  if (base === 2) {
    return 2 ** Math.ceil(Math.log2(value));
  }
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((round) => round >= value);
}

/**
 * Draw the values passed to `add` into an element: one value or several (a line for each), with
 * the latest on the right.
 *
 * @param {HTMLElement} place
 * @param {{label: string, top?: number, least?: number, base?: 2 | 10, size?: number,
 *   format?: (value: number) => string}} options  `top`: where the axis ends; without it, at the
 *   largest value, but at least at `least`; `base`: see roundUp;
 *   `size`: how many values are shown
 */
export class Chart {
  constructor(place, { label, top = 0, least = 1, base = 10, size = 60, format = String }) {
    Object.assign(this, { place, label, top, least, base, size, format, values: [] });
    this.svg = shape("svg", { role: "img", class: "chart" });
    place.append(this.svg);
    new ResizeObserver(() => this.draw()).observe(place);
  }

  add(...values) {
    this.values.push(values);
    this.values = this.values.slice(-this.size);
    this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    const height = this.place.clientHeight;
    const top = this.top || roundUp(Math.max(this.least, ...this.values.flat()), this.base);
    const x = (i) => width - MARGIN.right -
      ((width - MARGIN.left - MARGIN.right) * (this.values.length - 1 - i)) / (this.size - 1);
    const y = (value) => height - MARGIN.bottom -
      ((height - MARGIN.top - MARGIN.bottom) * Math.min(value, top)) / top;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", this.#inWords());
    this.svg.replaceChildren(
      ...[0, top / 2, top].flatMap((value) => this.#grid(value, y(value), width)),
      ...(this.values[0] || []).map((_, line) => this.#line(line, x, y)));
  }

  #grid(value, y, width) {
    return [
      shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
      shape("text", { x: MARGIN.left - 6, y, "text-anchor": "end", "dominant-baseline": "middle" },
        this.format(value))];
  }

  #line(line, x, y) {
    const points = this.values.map((values, i) =>
      [x(i).toFixed(1), y(values[line]).toFixed(1)]);
    const [cx, cy] = points.at(-1);
    return shape("g", { class: `line line-${line}` },
      shape("polyline", { points: points.join(" ") }), shape("circle", { cx, cy, r: 3 }));
  }

  #inWords() {
    const last = this.values.at(-1);
    return last ? `${this.label}: now ${last.map(this.format).join(", ")}` : this.label;
  }
}
