// Tasks that come to an answer or to a problem, of which only the newest counts.

/** Why there is no answer, in words. `status` is 0 where the server was not reached. */
export class Problem extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Runs one task at a time: a new one aborts the one before, whose result is then dropped even where it came. */
export class Latest {
  #sequence = 0;
  #controller = new AbortController();

  /** Abort what runs; nothing of it arrives any more. */
  cancel() {
    this.#sequence += 1;
    this.#controller.abort();
    this.#controller = new AbortController();
  }

  /** Do `task(signal)`, then `done(result)` or `failed(problem)`, unless a newer task began in the meantime. */
  async run(task, done, failed) {
    this.cancel();
    const own = this.#sequence;
    let then;
    try {
      const result = await task(this.#controller.signal);
      then = () => done(result);
    } catch (error) {
      if (!(error instanceof Problem) && error.name !== "AbortError") throw error;
      then = () => failed(error);
    }
    if (own === this.#sequence) then();
  }
}
