// What can be undone: states of the painting, each a picture and a mask.

export class History {
  constructor(most = 60) {
    Object.assign(this, { most, past: [], future: [] });
  }

  /** Keeps `state` before it changes. */
  keep(state) {
    this.past.push(state);
    if (this.past.length > this.most) this.past.shift();
    this.future = [];
  }

  /** The state before, while `state` can be had back by `redo`; null where there is none. */
  undo(state) {
    if (!this.past.length) return null;
    this.future.push(state);
    return this.past.pop();
  }

  redo(state) {
    if (!this.future.length) return null;
    this.past.push(state);
    return this.future.pop();
  }

  clear() {
    this.past = [];
    this.future = [];
  }
}
