// A chart of the last two minutes, one or two lines.

const SVG = "http://www.w3.org/2000/svg";
const SAMPLES = 120;
const [WIDTH, HEIGHT] = [240, 70];

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A chart named `title` of `series` (their names); `show` writes a value out. */
export class Chart {
  constructor(title, series, show) {
    this.show = show;
    this.values = series.map(() => []);
    const figure = document.createElement("figure");
    figure.className = "chart";
    const caption = document.createElement("figcaption");
    const name = document.createElement("strong");
    name.textContent = title;
    const legend = document.createElement("span");
    legend.className = "legend";
    this.labels = series.map((text, index) => {
      const label = document.createElement("span");
      if (series.length > 1) label.className = index ? "second" : "first";
      label.dataset.name = series.length > 1 ? `${text} ` : "";
      legend.append(label, " ");
      return label;
    });
    caption.append(name, legend);
    this.svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(element("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }));
    this.lines = series.map((_, index) => {
      const line = element("path", { class: index ? "second" : "first" });
      this.svg.append(line);
      return line;
    });
    this.title = title;
    this.most = document.createElement("span");
    this.most.className = "quiet";
    figure.append(caption, this.svg, this.most);
    this.element = figure;
  }

  /** Adds a value of each series and draws. */
  add(...values) {
    this.values.forEach((own, index) => {
      own.push(values[index]);
      if (own.length > SAMPLES) own.shift();
    });
    const most = Math.max(...this.values.flat(), Number.MIN_VALUE);
    const [step, height] = [WIDTH / (SAMPLES - 1), HEIGHT - 4];
    this.values.forEach((own, index) => {
      const first = SAMPLES - own.length;
      const points = own.map((value, at) => {
        const y = HEIGHT - 2 - (value / most) * height;
        return `${((first + at) * step).toFixed(1)} ${y.toFixed(1)}`;
      });
      this.lines[index].setAttribute("d", `M${points.join("L")}`);
      this.labels[index].textContent = this.labels[index].dataset.name + this.show(own.at(-1));
    });
    const told = this.values.map((own, index) => this.labels[index].textContent);
    this.svg.setAttribute("aria-label", `${this.title}: now ${told.join(", ")}`);
    this.most.textContent = `at most ${this.show(Math.max(...this.values.flat()))} in ${this.values[0].length} s`;
  }
}
