/**
 * What an operator may look at closely, and do. Each deed goes in steps, in one dialog: what is wanted, what would happen, and a button that says what it does; then what
 * came of it. Whoever may only read sees why, and how to get further.
 */
import type { MigrationView, NodeDetail, NodeView, ShardView } from "../src/rest/schemas.ts";
import { reasonOf } from "./answers.ts";
import type { Api } from "./api.ts";
import { type Attributes, type Child, button, find, make } from "./elements.ts";
import { type Act, type Cluster, nameOf, nodeSentences, readable, sinceInWords, slotsIn } from "./model.ts";
import {
  type Range,
  bytesInWords,
  countInWords,
  countOf,
  momentInWords,
  plural,
  rangesInWords,
  readRanges,
} from "./words.ts";

interface Explanation {
  readonly slot: number | null;
  readonly owner: string | null;
  readonly node: NodeDetail | null;
  readonly shard: ShardView | null;
  readonly migration: MigrationView | null;
  readonly since: Act | null;
  readonly since_wanted: string | null;
  readonly since_founding: number | null;
  readonly obstacles: readonly string[];
  readonly history: readonly Act[];
}

interface Plan {
  readonly id: string;
  readonly moves: readonly {
    readonly from_node: string | null;
    readonly to_node: string | null;
    readonly slots: readonly Range[];
    readonly slot_count: number;
    readonly keys: number;
    readonly bytes: number;
  }[];
  readonly slot_count: number;
  readonly keys: number;
  readonly bytes: number;
  readonly worst_before: number;
  readonly worst_after: number;
  readonly warnings: readonly string[];
}

const MEASURES = ["slots", "keys", "bytes", "load"] as const;
/** Moves of a plan that are listed. */
const MAX_MOVES = 40;

export class Actions {
  /** The token's role allows it. */
  mayOperate = false;
  readonly #api: Api;
  readonly #done: () => void;
  readonly #dialog = find("dialog", HTMLDialogElement);
  #shards: readonly ShardView[] = [];
  #nodes: ReadonlyMap<string, NodeView> = new Map();
  /** Counts what the dialog shows: an answer that comes late is not for what is shown then. */
  #page = 0;

  /** @param done Called when something was done. */
  constructor(api: Api, done: () => void) {
    this.#api = api;
    this.#done = done;
  }

  show({ shards }: Cluster, nodes: ReadonlyMap<string, NodeView>): void {
    this.#shards = shards;
    this.#nodes = nodes;
  }

  // --- what is so ---

  node(id: string): void {
    const shard = this.#shards.find(({ primary, replicas }) => primary === id || replicas.includes(id));
    const deeds =
      shard === undefined ? [] : shard.primary === id ? this.#deedsOf(shard) : [this.#failoverButton(shard, id)];
    this.explain(`node=${encodeURIComponent(id)}`, `Node ${this.#name(id)}`, deeds);
  }

  shard(id: string): void {
    const shard = this.#shards.find((each) => each.id === id);
    const deeds = shard === undefined ? [] : this.#deedsOf(shard);
    this.explain(`shard=${encodeURIComponent(id)}`, `Shard of ${this.#name(shard?.primary ?? id)}`, deeds);
  }

  /** Shows why something is as it is. @param query Of `/cluster/explain`. */
  explain(query: string, title: string, deeds: readonly HTMLElement[] = []): void {
    const page = this.#open(title, make("p", { role: "status" }, "Asking why it is as it is."));
    void this.#answer(page, title, async () => {
      const told = await this.#api.get<Explanation>(`/cluster/explain?${query}`);
      const { owner, obstacles, history, shard, migration } = told;
      const now = Date.now();
      const act = ({ time, version, cause, changes }: Act): HTMLElement =>
        make(
          "li",
          {},
          `${momentInWords(time, now)}, map ${version}: ${this.#words(cause)}`,
          make("ul", {}, ...changes.slice(0, 8).map((change) => make("li", {}, this.#words(change)))),
        );
      const ofNode = told.node === null ? [] : nodeSentences(told.node, this.#nodes, now);
      return [
        ...ofNode.map((sentence) => make("p", {}, sentence)),
        make(
          "p",
          {},
          owner === null
            ? told.node === null
              ? "Nobody owns it."
              : "It is in no shard."
            : told.slot !== null
              ? `Slot ${told.slot} is ${this.#name(owner)}'s.`
              : told.node?.id === owner
                ? "It leads its shard."
                : `Led by ${this.#name(owner)}.`,
        ),
        shard === null || shard.is_served
          ? undefined
          : make("p", { class: "risk" }, `Not served: ${shard.reason ?? ""}`),
        migration === null
          ? undefined
          : make(
              "p",
              {},
              `A move of ${plural(slotsIn(migration), "slot")} to ${this.#name(migration.to_node ?? "nobody")}: ${migration.state}. ${this.#words(migration.cause)}`,
            ),
        make("p", {}, sinceInWords(told, this.#nodes, now)),
        make("h3", {}, "What stands in the way"),
        obstacles.length === 0
          ? make("p", {}, "Nothing.")
          : make("ul", {}, ...obstacles.map((each) => make("li", {}, this.#words(each)))),
        ...this.#deeds(deeds),
        make("h3", {}, "What was decided"),
        make("ol", {}, ...history.map(act)),
      ];
    });
  }

  #deeds(deeds: readonly HTMLElement[]): readonly HTMLElement[] {
    if (deeds.length === 0) return [];
    const may = this.mayOperate
      ? make("div", { class: "line" }, ...deeds)
      : make(
          "p",
          { class: "quiet" },
          "To change something here, use a token with the role operate (the button at the top).",
        );
    return [make("h3", {}, "What can be done"), may];
  }

  #deedsOf(shard: ShardView): readonly HTMLElement[] {
    const failovers = shard.replicas.map((id) => this.#failoverButton(shard, id));
    if (shard.slot_count === 0) return failovers;
    return [
      ...failovers,
      button("Move slots...", () => this.#move(shard)),
      button("Drain...", () => this.#drain(shard)),
    ];
  }

  #failoverButton(shard: ShardView, to: string): HTMLElement {
    return button(`Fail over to ${this.#name(to)}...`, () => this.#failover(shard, to));
  }

  // --- what can be done ---

  #failover(shard: ShardView, to: string): void {
    const [name, old] = [this.#name(to), this.#name(shard.primary)];
    const isInSync = shard.in_sync.includes(to);
    const force = make("input", { type: "radio", name: "mode", value: "force" });
    const planned = make("input", { type: "radio", name: "mode", value: "planned", checked: true });
    this.#open(
      `Fail over to ${name}`,
      make(
        "p",
        {},
        `${name} becomes the primary of ${plural(shard.slot_count, "slot")} in the place of ${old}, which becomes its replica.`,
      ),
      make(
        "p",
        isInSync ? {} : { class: "risk" },
        isInSync
          ? `${name} is in sync: it holds every acknowledged write.`
          : `${name} is not in sync: it may be refused.`,
      ),
      make(
        "fieldset",
        {},
        make("legend", {}, "How"),
        make(
          "label",
          {},
          planned,
          ` Planned: ${old} hands over. Its clients wait for a moment, and none sees an error.`,
        ),
        make(
          "label",
          {},
          force,
          ` Forced: also if ${old} does not answer, once its lease is over. Clients see errors until then.`,
        ),
      ),
      this.#steps(
        button(
          "Go on",
          () => {
            const mode = force.checked ? "force" : "planned";
            const how = mode === "force" ? "by force" : "as planned";
            this.#confirm(`Have ${name} take over from ${old}, ${how}?`, [], `Fail over to ${name}`, async () => {
              await this.#api.post("/cluster/failover", { node_id: to, mode });
              return `${name} takes over. The list of shards shows when it is done.`;
            });
          },
          { class: "main" },
        ),
      ),
    );
  }

  #move(source: ShardView): void {
    const targets = this.#shards.filter(({ id }) => id !== source.id);
    const target = make(
      "select",
      { name: "target" },
      ...targets.map(({ primary }) => make("option", { value: primary }, this.#name(primary))),
    );
    const slots = make("input", {
      name: "slots",
      required: true,
      autocomplete: "off",
      "aria-describedby": "move-problem",
    });
    const problem = make("p", { id: "move-problem", role: "alert", class: "risk" });
    const form = make(
      "form",
      {},
      make("p", {}, `${this.#name(source.primary)} has ${rangesInWords(source.slots, 12)}.`),
      make("label", {}, "Slots, such as 0-99, 120 ", slots),
      make("label", {}, "To ", target),
      problem,
      this.#steps(make("button", { class: "main" }, "Go on")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const ranges = readRanges(slots.value);
      const wrong = typeof ranges === "string" ? ranges : ranges.find((range) => !isWithin(range, source.slots));
      if (typeof ranges === "string" || wrong !== undefined) {
        problem.textContent =
          typeof wrong === "string"
            ? `${wrong}.`
            : `${this.#name(source.primary)} does not have all of ${wrong === undefined ? "" : rangesInWords([wrong])}.`;
        slots.focus();
        return;
      }
      const [from, to] = [this.#name(source.primary), this.#name(target.value)];
      const what = plural(countOf(ranges), "slot");
      const lines = [
        `${rangesInWords(ranges, 12)}: from ${from} to ${to}.`,
        "Their keys are sent while clients go on. At the end commands on these slots are held for a moment, then clients are sent to the new owner.",
        "It can be cancelled until then, and nothing is lost either way.",
      ];
      this.#confirm(`Move ${what}?`, lines, `Move ${what} to ${to}`, async () => {
        await this.#api.post("/cluster/migration/start", {
          slots: ranges,
          from_node: source.primary,
          to_node: target.value,
        });
        return "The move is under way: see the map and the list of moves.";
      });
    });
    this.#open(
      `Move slots of ${this.#name(source.primary)}`,
      targets.length === 0 ? make("p", {}, "There is no other shard.") : form,
    );
    slots.focus();
  }

  #drain(shard: ShardView): void {
    const title = `Drain ${this.#name(shard.primary)}`;
    this.#plan(title, { kind: "drain", drains: shard.id });
  }

  rebalance(): void {
    const by = make("select", { name: "by" }, ...MEASURES.map((measure) => make("option", {}, measure)));
    const form = make(
      "form",
      {},
      make(
        "p",
        {},
        "A plan says which slots to move so that each shard has its part. Nothing moves before it is applied.",
      ),
      make("label", {}, "Even by ", by),
      this.#steps(make("button", { class: "main" }, "Make the plan")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#plan("Rebalance", { kind: "rebalance", by: by.value });
    });
    this.#open("Rebalance", form);
  }

  /** Has a plan made, shows it, and applies it when that is wanted. */
  #plan(title: string, wanted: object): void {
    const page = this.#open(title, make("p", { role: "status" }, "Making the plan."));
    void this.#answer(page, title, async () => {
      const plan = await this.#api.post<Plan>("/cluster/plans", wanted);
      const warnings = plan.warnings.map((warning) => make("p", { class: "risk" }, warning));
      if (plan.moves.length === 0) return [...warnings, make("p", {}, "There is nothing to move."), this.#steps()];
      const rows = plan.moves
        .slice(0, MAX_MOVES)
        .map((move) =>
          make(
            "tr",
            {},
            make("td", {}, this.#name(move.from_node ?? "")),
            make("td", {}, this.#name(move.to_node ?? "")),
            make("td", {}, `${move.slot_count}: ${rangesInWords(move.slots)}`),
            make("td", { class: "number" }, countInWords(move.keys)),
            make("td", { class: "number" }, bytesInWords(move.bytes)),
          ),
        );
      const heads = ["From", "To", "Slots", "Keys", "Bytes"].map((head) => make("th", { scope: "col" }, head));
      const percent = (part: number): string => `${(part * 100).toFixed(1)} %`;
      const moves = plural(plan.moves.length, "move");
      return [
        make(
          "p",
          {},
          `${moves}: ${plural(plan.slot_count, "slot")} with ${plural(plan.keys, "key")} and ${bytesInWords(plan.bytes)}.`,
        ),
        make(
          "p",
          {},
          `The shard that is farthest from its part is ${percent(plan.worst_before)} from it, and ${percent(plan.worst_after)} after that.`,
        ),
        ...warnings,
        make(
          "div",
          { class: "scroll", tabindex: 0, role: "group", "aria-label": "The moves" },
          make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
        ),
        plan.moves.length > MAX_MOVES ? make("p", {}, `and ${plan.moves.length - MAX_MOVES} more`) : undefined,
        this.#steps(
          button(
            "Go on",
            () => {
              const lines = [
                `${plural(plan.slot_count, "slot")} will move while clients go on. The plan is refused if the shards have changed meanwhile. Each move can be cancelled.`,
              ];
              this.#confirm(`Apply this plan (${moves})?`, lines, `Start ${moves}`, async () => {
                await this.#api.post(`/cluster/plans/${encodeURIComponent(plan.id)}/apply`, {});
                return `${moves} under way: see the map and the list of moves.`;
              });
            },
            { class: "main" },
          ),
        ),
      ];
    });
  }

  cancel(move: MigrationView): void {
    const { id } = move;
    const what = plural(slotsIn(move), "slot");
    if (id === null || !this.#mayDo("Cancel a move", "cancel")) return;
    this.#confirm(
      `Cancel the move of ${what}?`,
      [`The slots stay at ${this.#name(move.from_node ?? "")}. What was sent is dropped; nothing is lost.`],
      "Cancel the move",
      async () => {
        await this.#api.post("/cluster/migration/cancel", { id });
        return "The move was cancelled.";
      },
    );
  }

  /** A move that is kept level gets the word that it waits for. */
  complete(move: MigrationView): void {
    const { id } = move;
    const what = plural(slotsIn(move), "slot");
    if (id === null || !this.#mayDo("Complete a move", "complete")) return;
    const to = this.#name(move.to_node ?? "");
    this.#confirm(
      `Complete the move of ${what}?`,
      [`${to} gets them as soon as it has everything; commands on them are held for a moment then.`],
      "Complete the move",
      async () => {
        const { state } = await this.#api.post<MigrationView>("/cluster/migration/complete", { id });
        return state === "completed" ? "The move is completed." : "The move goes on.";
      },
    );
  }

  /** Whether the caller may do something to a move; if not, it is told what that needs. */
  #mayDo(title: string, word: string): boolean {
    if (!this.mayOperate)
      this.#open(title, make("p", {}, `To ${word} it, use a token with the role operate (the button at the top).`));
    return this.mayOperate;
  }

  // --- the dialog ---

  #name(id: string): string {
    return nameOf(this.#nodes, id);
  }

  #words(text: string): string {
    return readable(text, this.#nodes);
  }

  #confirm(question: string, lines: readonly string[], word: string, act: () => Promise<string>): void {
    const go = button(
      word,
      () => {
        go.disabled = true;
        const page = this.#page;
        void this.#answer(page, question, async () => {
          const came = await act();
          this.#done();
          return [make("p", { role: "status" }, came)];
        });
      },
      { class: "main" },
    );
    this.#open(question, ...lines.map((line) => make("p", {}, line)), this.#steps(go));
    go.focus();
  }

  #steps(...buttons: readonly HTMLElement[]): HTMLElement {
    return make(
      "div",
      { class: "tools" },
      button("Not now", () => this.#dialog.close()),
      ...buttons,
    );
  }

  /** Shows what comes of something, or why nothing does, if nobody has gone on meanwhile. */
  async #answer(page: number, title: string, ask: () => Promise<readonly Child[]>): Promise<void> {
    let children: readonly Child[];
    try {
      children = await ask();
    } catch (thrown) {
      children = [make("p", { role: "alert", class: "risk" }, reasonOf(thrown))];
    }
    if (page === this.#page && this.#dialog.open) this.#open(title, ...children);
  }

  /** Shows something. @returns Which page of the dialog this is. */
  #open(title: string, ...children: readonly Child[]): number {
    this.#page += 1;
    const attributes: Attributes = { id: "dialog-title", tabindex: -1 };
    const head = make("h2", attributes, title);
    const close = make(
      "div",
      { class: "tools" },
      button("Close", () => this.#dialog.close()),
    );
    this.#dialog.replaceChildren(head, ...children.filter((child) => child !== undefined), close);
    if (!this.#dialog.open) this.#dialog.showModal();
    head.focus();
    return this.#page;
  }
}

function isWithin({ start, end }: Range, ranges: readonly Range[]): boolean {
  return ranges.some((range) => range.start <= start && end <= range.end);
}
