// A terminal: what xterm's most common control sequences do, on a grid of cells.
//
// Control sequences as in ECMA-48 and xterm's ctlseqs; what is not known is skipped whole.

const COLORS = [
  "#22262a", "#e06c60", "#7ecb8f", "#dcb863", "#6ca8e0", "#c58fd8", "#6cc3dd", "#d8d8d4",
  "#6a6f76", "#f08b80", "#a0dcae", "#ecd08c", "#92c1ee", "#dab0e8", "#98d8ea", "#ffffff",
];
const PLAIN = { fg: null, bg: null, bold: false, under: false, inverse: false };
const BLANK = { ...PLAIN, ch: " " };

/** One of xterm's 256 colours. */
function indexed(number) {
  if (number < 16) return COLORS[number];
  if (number >= 232) {
    const grey = 8 + (number - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const level = (digit) => (digit ? 55 + digit * 40 : 0);
  const cube = number - 16;
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}

/** The grid, and what bytes do to it. Draws nothing. */
export class Screen {
  constructor(rows, columns, reply) {
    this.reply = reply;
    this.pen = { ...PLAIN };
    this.cursor = { row: 0, column: 0 };
    this.saved = { row: 0, column: 0 };
    this.visible = true;
    this.application = false;
    this.bracketed = false;
    this.wraps = true;
    this.state = "text";
    this.resize(rows, columns);
  }

  resize(rows, columns) {
    const old = this.lines ?? [];
    // What is above the cursor goes first.
    const skip = Math.max(0, this.cursor.row - rows + 1);
    this.lines = Array.from({ length: rows }, (_, row) => {
      const line = old[row + skip] ?? [];
      return Array.from({ length: columns }, (_, column) => line[column] ?? { ...BLANK });
    });
    [this.rows, this.columns] = [rows, columns];
    [this.top, this.bottom] = [0, rows - 1];
    this.move(this.cursor.row - skip, Math.min(this.cursor.column, columns - 1));
  }

  blank() {
    return Array.from({ length: this.columns }, () => ({ ...BLANK, bg: this.pen.bg }));
  }

  move(row, column) {
    this.cursor.row = Math.min(Math.max(row, 0), this.rows - 1);
    this.cursor.column = Math.min(Math.max(column, 0), this.columns - 1);
    this.full = false;
  }

  /** Moves the lines from `top` to the region's end up by `count`, or down where it is negative. */
  scroll(count, top = this.top) {
    for (; count > 0; count--) {
      this.lines.splice(top, 1);
      this.lines.splice(this.bottom, 0, this.blank());
    }
    for (; count < 0; count++) {
      this.lines.splice(this.bottom, 1);
      this.lines.splice(top, 0, this.blank());
    }
  }

  feed() {
    if (this.cursor.row === this.bottom) this.scroll(1);
    else this.move(this.cursor.row + 1, this.cursor.column);
    this.full = false;
  }

  put(ch) {
    if (this.full && this.wraps) {
      this.cursor.column = 0;
      this.feed();
    }
    this.lines[this.cursor.row][this.cursor.column] = { ...this.pen, ch };
    this.full = this.cursor.column === this.columns - 1;
    if (!this.full) this.cursor.column += 1;
  }

  /** Takes what a program printed. */
  write(text) {
    for (const ch of text) this.take(ch);
  }

  take(ch) {
    switch (this.state) {
      case "escape":
        return this.escape(ch);
      case "charset":
        this.state = "text";
        return;
      case "sequence":
        if (ch >= "@" && ch <= "~") {
          this.state = "text";
          this.control(ch, this.given);
        } else if (this.given.length < 256) {
          this.given += ch;
        }
        return;
      case "string":
        // A title or the like: ends with BEL, or with ESC and a backslash.
        if (ch === "\x07") this.state = "text";
        else if (ch === "\x1b") this.state = "charset";
        return;
    }
    switch (ch) {
      case "\x1b":
        this.state = "escape";
        return;
      case "\r":
        return this.move(this.cursor.row, 0);
      case "\n":
      case "\v":
      case "\f":
        return this.feed();
      case "\b":
        return this.move(this.cursor.row, this.cursor.column - 1);
      case "\t":
        return this.move(this.cursor.row, (Math.floor(this.cursor.column / 8) + 1) * 8);
    }
    if (ch >= " " && ch !== "\x7f") this.put(ch);
  }

  escape(ch) {
    this.state = "text";
    switch (ch) {
      case "[":
        [this.state, this.given] = ["sequence", ""];
        return;
      case "]":
      case "P":
      case "^":
      case "_":
        this.state = "string";
        return;
      case "(":
      case ")":
      case "#":
      case "%":
        this.state = "charset";
        return;
      case "7":
        this.saved = { ...this.cursor, pen: { ...this.pen } };
        return;
      case "8":
        this.pen = { ...(this.saved.pen ?? PLAIN) };
        return this.move(this.saved.row, this.saved.column);
      case "D":
        return this.feed();
      case "E":
        this.move(this.cursor.row, 0);
        return this.feed();
      case "M":
        if (this.cursor.row === this.top) this.scroll(-1);
        else this.move(this.cursor.row - 1, this.cursor.column);
        return;
      case "c":
        this.pen = { ...PLAIN };
        this.lines = this.lines.map(() => this.blank());
        return this.move(0, 0);
    }
  }

  control(final, given) {
    const own = /^[?>=!]/.test(given) ? given[0] : "";
    const numbers = given.slice(own.length).split(/[;:]/).map((text) => parseInt(text, 10));
    const number = (index, otherwise) => (numbers[index] > 0 ? numbers[index] : otherwise);
    const count = number(0, 1);
    const { row, column } = this.cursor;
    const line = this.lines[row];
    if (own === "?" && (final === "h" || final === "l")) return this.mode(numbers, final === "h");
    if (own) return;
    switch (final) {
      case "A":
        return this.move(Math.max(row - count, row >= this.top ? this.top : 0), column);
      case "B":
      case "e":
        return this.move(Math.min(row + count, row <= this.bottom ? this.bottom : this.rows), column);
      case "C":
      case "a":
        return this.move(row, column + count);
      case "D":
        return this.move(row, column - count);
      case "E":
        return this.move(row + count, 0);
      case "F":
        return this.move(row - count, 0);
      case "G":
      case "`":
        return this.move(row, count - 1);
      case "d":
        return this.move(count - 1, column);
      case "H":
      case "f":
        return this.move(count - 1, number(1, 1) - 1);
      case "J":
        return this.eraseScreen(number(0, 0));
      case "K":
        return this.eraseLine(number(0, 0));
      case "X":
        return this.erase(line, column, column + count);
      case "L":
      case "M":
        if (row >= this.top && row <= this.bottom) {
          const most = Math.min(count, this.bottom - row + 1);
          this.scroll(final === "L" ? -most : most, row);
        }
        return;
      case "P":
        line.splice(column, Math.min(count, this.columns - column));
        while (line.length < this.columns) line.push({ ...BLANK });
        return;
      case "@":
        for (let left = Math.min(count, this.columns - column); left > 0; left--) line.splice(column, 0, { ...BLANK });
        line.length = this.columns;
        return;
      case "S":
        return this.scroll(Math.min(count, this.rows));
      case "T":
        return this.scroll(-Math.min(count, this.rows));
      case "r": {
        const [top, bottom] = [number(0, 1) - 1, Math.min(number(1, this.rows), this.rows) - 1];
        if (top < bottom) [this.top, this.bottom] = [top, bottom];
        return this.move(0, 0);
      }
      case "s":
        this.saved = { ...this.cursor, pen: { ...this.pen } };
        return;
      case "u":
        return this.move(this.saved.row, this.saved.column);
      case "m":
        return this.style(numbers);
      case "n":
        if (numbers[0] === 6) this.reply(`\x1b[${row + 1};${column + 1}R`);
        else if (numbers[0] === 5) this.reply("\x1b[0n");
        return;
      case "c":
        return this.reply("\x1b[?1;2c");
    }
  }

  mode(numbers, on) {
    for (const number of numbers) {
      if (number === 1) this.application = on;
      else if (number === 7) this.wraps = on;
      else if (number === 25) this.visible = on;
      else if (number === 2004) this.bracketed = on;
      else if (number === 47 || number === 1047 || number === 1049) this.alternate(on);
    }
  }

  /** The second screen, on which programs draw that leave the first as it was. */
  alternate(on) {
    if (on && !this.first) {
      this.first = { lines: this.lines, cursor: { ...this.cursor } };
      this.lines = this.lines.map(() => this.blank());
    } else if (!on && this.first) {
      const { lines, cursor } = this.first;
      [this.lines, this.cursor, this.first] = [lines, cursor, null];
      this.resize(this.rows, this.columns);
    }
  }

  erase(line, from, to) {
    for (let column = from; column < Math.min(to, this.columns); column++) line[column] = { ...BLANK, bg: this.pen.bg };
  }

  eraseLine(what) {
    const { row, column } = this.cursor;
    this.erase(this.lines[row], what === 0 ? column : 0, what === 1 ? column + 1 : this.columns);
  }

  eraseScreen(what) {
    const { row } = this.cursor;
    if (what < 2) this.eraseLine(what);
    const [from, to] = what === 0 ? [row + 1, this.rows] : [0, what === 1 ? row : this.rows];
    for (let line = from; line < to; line++) this.lines[line] = this.blank();
  }

  style(numbers) {
    for (let at = 0; at < numbers.length; at++) {
      const number = numbers[at] || 0;
      const key = number >= 40 && number < 50 || number >= 100 ? "bg" : "fg";
      if (number === 0) this.pen = { ...PLAIN };
      else if (number === 1) this.pen.bold = true;
      else if (number === 4) this.pen.under = true;
      else if (number === 7) this.pen.inverse = true;
      else if (number === 22) this.pen.bold = false;
      else if (number === 24) this.pen.under = false;
      else if (number === 27) this.pen.inverse = false;
      else if (number === 39 || number === 49) this.pen[key] = null;
      else if (number === 38 || number === 48) {
        if (numbers[at + 1] === 5) this.pen[key] = indexed(numbers[at + 2] & 255);
        else if (numbers[at + 1] === 2) this.pen[key] = `rgb(${numbers.slice(at + 2, at + 5).map((part) => part & 255)})`;
        at += numbers[at + 1] === 2 ? 4 : 2;
      } else if (number >= 90) this.pen[key] = COLORS[(number % 10) + 8];
      else if (number >= 30) this.pen[key] = COLORS[number % 10];
    }
  }
}

const KEYS = {
  Enter: "\r", Tab: "\t", Escape: "\x1b", Backspace: "\x7f", Delete: "\x1b[3~", Insert: "\x1b[2~",
  PageUp: "\x1b[5~", PageDown: "\x1b[6~", F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS",
  F5: "\x1b[15~", F6: "\x1b[17~", F7: "\x1b[18~", F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~",
};
const ARROWS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };

/** What a key sends, or nothing where it is the browser's. */
function typed(event, application) {
  if (event.metaKey || event.isComposing) return null;
  if (event.key in ARROWS) return (application ? "\x1bO" : "\x1b[") + ARROWS[event.key];
  if (event.key in KEYS) return KEYS[event.key];
  if (event.key.length !== 1) return null;
  if (event.ctrlKey) {
    // Copies and pastes, as terminals do.
    if (event.shiftKey) return null;
    const code = event.key.toUpperCase().charCodeAt(0);
    return code >= 64 && code < 96 ? String.fromCharCode(code - 64) : null;
  }
  return (event.altKey ? "\x1b" : "") + event.key;
}

/** A terminal in the page. `send` gets what is typed, `resized` rows and columns. */
export class Terminal {
  constructor(send, resized) {
    [this.send, this.resized] = [send, resized];
    this.element = document.createElement("pre");
    this.element.className = "terminal";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "textbox");
    this.element.setAttribute("aria-label", "terminal");
    this.screen = new Screen(24, 80, send);
    this.decoder = new TextDecoder();
    this.element.addEventListener("keydown", (event) => {
      const text = typed(event, this.screen.application);
      if (text === null) return;
      event.preventDefault();
      this.send(text);
    });
    this.element.addEventListener("paste", (event) => {
      event.preventDefault();
      const text = event.clipboardData.getData("text").replace(/\r?\n/g, "\r");
      this.send(this.screen.bracketed ? `\x1b[200~${text}\x1b[201~` : text);
    });
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(this.element);
  }

  close() {
    this.watch.disconnect();
  }

  /** Takes the rows and columns that there is room for. */
  fit() {
    const probe = document.createElement("span");
    probe.textContent = "0".repeat(10);
    const line = document.createElement("div");
    line.append(probe);
    this.element.append(line);
    const [width, height] = [probe.getBoundingClientRect().width / 10, line.getBoundingClientRect().height];
    line.remove();
    const style = getComputedStyle(this.element);
    const inside = (whole, ...sides) => sides.reduce((left, side) => left - parseFloat(style[side]), whole);
    const columns = Math.floor(inside(this.element.clientWidth, "paddingLeft", "paddingRight") / width);
    const rows = Math.floor(inside(this.element.clientHeight, "paddingTop", "paddingBottom") / height);
    if (!(rows > 1 && columns > 1)) return;
    if (rows !== this.screen.rows || columns !== this.screen.columns) {
      this.screen.resize(rows, columns);
      this.resized(rows, columns);
    }
    this.draw();
  }

  write(bytes) {
    this.screen.write(this.decoder.decode(bytes, { stream: true }));
    if (!this.pending) {
      this.pending = true;
      requestAnimationFrame(() => {
        this.pending = false;
        this.draw();
      });
    }
  }

  draw() {
    const { lines, cursor, visible } = this.screen;
    this.element.replaceChildren(
      ...lines.map((cells, row) => {
        const line = document.createElement("div");
        let run = null;
        cells.forEach((cell, column) => {
          const here = visible && row === cursor.row && column === cursor.column;
          const look = here ? "cursor" : `${cell.fg}${cell.bg}${cell.bold}${cell.under}${cell.inverse}`;
          if (run?.look !== look) {
            run = { look, span: document.createElement("span") };
            const [fg, bg] = cell.inverse ? [cell.bg ?? "#101214", cell.fg ?? "#e4e4e2"] : [cell.fg, cell.bg];
            if (here) run.span.classList.add("cursor");
            else Object.assign(run.span.style, { color: fg ?? "", backgroundColor: bg ?? "" });
            run.span.classList.toggle("bold", cell.bold);
            run.span.classList.toggle("under", cell.under);
            line.append(run.span);
          }
          run.span.textContent += cell.ch;
        });
        return line;
      }),
    );
  }
}
