// Which pixels are repainted, and the shapes that a person draws into that.
import { toBase64 } from './bytes.js';
import { greyPng } from './png.js';

export class Mask {
  constructor(width, height, data = new Uint8Array(width * height)) {
    Object.assign(this, { width, height, data });
  }

  clone() { return new Mask(this.width, this.height, this.data.slice()); }
  equals(other) { return this.data.every((value, i) => value === other.data[i]); }
  get count() { return this.data.reduce((sum, value) => sum + value, 0); }
  invert() { this.data.forEach((value, i) => { this.data[i] = 1 - value; }); }

  box(left, top, right, bottom, value = 1) {
    const [l, r] = [Math.max(0, left), Math.min(this.width, right)];
    for (let y = Math.max(0, top); y < Math.min(this.height, bottom); y++) if (r > l) this.data.fill(value, y * this.width + l, y * this.width + r);
  }

  /** All pixels whose middle lies within half of `size` of the line, and the one under its start. Coordinates in pixels, from the corner. */
  line(x0, y0, x1, y1, size, value) {
    const radius = size / 2;
    const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    const [left, right] = [Math.floor(Math.min(x0, x1) - radius), Math.ceil(Math.max(x0, x1) + radius)];
    const [top, bottom] = [Math.floor(Math.min(y0, y1) - radius), Math.ceil(Math.max(y0, y1) + radius)];
    for (let y = Math.max(0, top); y < Math.min(this.height, bottom); y++) {
      for (let x = Math.max(0, left); x < Math.min(this.width, right); x++) {
        const [px, py] = [x + 0.5, y + 0.5];
        const t = length ? Math.max(0, Math.min(1, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length)) : 0;
        const distance = (px - x0 - t * (x1 - x0)) ** 2 + (py - y0 - t * (y1 - y0)) ** 2;
        if (distance <= radius * radius || (x === Math.floor(x1) && y === Math.floor(y1))) this.data[y * this.width + x] = value;
      }
    }
  }

  /** Whether any pixel of a place of the code grid is repainted; then the model does not see the place. */
  hides(row, column, factor) {
    for (let y = row * factor; y < Math.min(this.height, (row + 1) * factor); y++) {
      for (let x = column * factor; x < Math.min(this.width, (column + 1) * factor); x++) if (this.data[y * this.width + x]) return true;
    }
    return false;
  }

  togglePlace(row, column, factor) {
    const value = this.hides(row, column, factor) ? 0 : 1;
    this.box(column * factor, row * factor, (column + 1) * factor, (row + 1) * factor, value);
    return value === 1;
  }

  /** A PNG of it, white where it is repainted. */
  async png() {
    return toBase64(await greyPng(this.width, this.height, this.data.map((value) => 255 * value)));
  }

  static of({ width, height, data }) {
    return new Mask(width, height, Uint8Array.from({ length: width * height }, (_, i) => (data[4 * i] >= 128 ? 1 : 0)));
  }
}
