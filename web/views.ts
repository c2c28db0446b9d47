/** The lists of the page: health, shards, nodes, moves and events. Each keeps its elements while what they show changes. */
import type { Amiss } from "../src/rest/amiss.ts";
import type { MigrationView, NodeStats, NodeView, ShardView, ToldCheckView } from "../src/rest/schemas.ts";
import { KeyedList, type Row, button, find, make, mark, say, textIn } from "./elements.ts";
import {
  type Cluster,
  type Level,
  type NodeWord,
  type ShardRow,
  amissIn,
  badgeOf,
  doneOf,
  isUnderWay,
  nameOf,
  nodeLevel,
  nodeWord,
  readable,
  shardRow,
  slotsIn,
  verdictOf,
  worstFirst,
} from "./model.ts";
import { cssOf, shardColour } from "./slot-colours.ts";
import { bytesInWords, countInWords, durationInWords, momentInWords, plural, rangesInWords } from "./words.ts";

/** Signs beside colours: nobody needs to tell these apart. */
const SIGNS: Readonly<Record<Level, string>> = { ok: "\u25cf", warn: "\u25b2", critical: "\u2716", unknown: "?" };
/** Of more shards no legend is read: the list of shards has the colours too. */
const MAX_LEGEND = 16;

/** What somebody may do from a list. */
export interface Chooser {
  node(id: string): void;
  shard(id: string): void;
  move(migration: MigrationView, what: "cancel" | "complete"): void;
}

/** A sign and a word for how something is. */
class LevelWord {
  readonly element = make("span", { class: "level" });
  readonly #sign = make("span", { "aria-hidden": "true", class: "sign" });
  readonly #word = make("span");

  constructor() {
    this.element.append(this.#sign, " ", this.#word);
  }

  show(level: Level, word: string): void {
    mark(this.element, "data-level", level);
    say(this.#sign, SIGNS[level]);
    say(this.#word, word);
  }
}

function swatch(place: number): HTMLElement {
  const element = make("span", { class: "swatch", "aria-hidden": "true" });
  if (place >= 0) element.style.background = cssOf(shardColour(place));
  return element;
}

/** How the cluster is, in a few lines. */
export class Overview {
  readonly #badge = find("state", HTMLParagraphElement);
  readonly #verdict = find("verdict", HTMLParagraphElement);
  readonly #facts = new Map<string, HTMLElement>();
  readonly #reasons = new KeyedList<string>(
    find("reasons", HTMLUListElement),
    (reason) => reason,
    (reason) => ({ element: make("li", {}, reason), update: () => undefined }),
  );

  show(cluster: Cluster, nodes: ReadonlyMap<string, NodeView>): void {
    const { info, shards } = cluster;
    const { level, word } = badgeOf(cluster);
    mark(this.#badge, "data-level", level);
    say(this.#badge, word);
    say(this.#verdict, verdictOf(cluster, amissIn(cluster, nodes)[0]));
    this.#reasons.show(info.reasons);
    const alive = cluster.nodes.filter((node) => nodeLevel(node) === "ok").length;
    const served = shards.filter(({ slot_count }) => slot_count > 0);
    this.#fact("Nodes", `${alive} of ${info.nodes.count} are there`);
    this.#fact(
      "Shards with slots",
      `${served.filter(({ is_served }) => is_served).length} of ${served.length} are served`,
    );
    this.#fact("Slots owned", `${info.slots.coverage} %`);
    this.#fact("Leader", info.leader === null ? "nobody that this node knows" : nameOf(nodes, info.leader));
    this.#fact("Map", `version ${info.map_version}, term ${info.term}`);
    this.#fact("Seen from", nameOf(nodes, info.nodes.my_node_id));
    document.title = `${word === "ok" ? "" : `${word}: `}bunch`;
  }

  #fact(name: string, value: string): void {
    let element = this.#facts.get(name);
    if (element === undefined) {
      element = make("dd");
      this.#facts.set(name, element);
      find("facts", HTMLDListElement).append(make("div", {}, make("dt", {}, name), element));
    }
    say(element, value);
  }
}

/** Checks: those that are amiss with what to do, the others folded away. */
export class HealthList {
  readonly #amiss = new KeyedList<Amiss>(
    find("checks", HTMLUListElement),
    ({ name, state }) => `${name} ${state}`,
    amissRow,
  );
  readonly #well = new KeyedList<ToldCheckView>(
    find("well-checks", HTMLUListElement),
    ({ name }) => name,
    ({ name }) => {
      const word = make("span");
      const element = make("li", {}, make("strong", {}, name), ": ", word);
      return { element, update: ({ summary }) => say(word, summary) };
    },
  );

  show(cluster: Cluster, nodes: ReadonlyMap<string, NodeView>): void {
    const { health } = cluster;
    const amiss = amissIn(cluster, nodes);
    const well = (health?.checks ?? []).filter(({ state }) => state === "ok");
    say(find("health-view", HTMLParagraphElement), viewWord(health, amiss.length === 0));
    this.#amiss.show(amiss);
    this.#well.show(well);
    say(find("well-title", HTMLElement), `${plural(well.length, "check")} ${well.length === 1 ? "is" : "are"} well`);
    find("well", HTMLDetailsElement).hidden = well.length === 0;
  }
}

function viewWord(health: Cluster["health"], isWell: boolean): string {
  if (health === undefined) return "Nobody judges health at this node.";
  const { asked, silent } = health;
  const told = `${asked - silent.length} of ${plural(asked, "node")} told how they are.`;
  return isWell ? `${told} Nothing is amiss.` : told;
}

function amissRow({ name, state }: Amiss): Row<Amiss> {
  const level = new LevelWord();
  level.show(state, `${name}: ${state}`);
  const [meaning, advice, since] = [
    make("p", { class: "quiet" }),
    make("p", { class: "advice" }),
    make("span", { class: "quiet" }),
  ];
  const list = make("ul", { class: "plain" });
  const findings = new KeyedList<{ readonly key: string; readonly text: string }>(
    list,
    ({ key }) => key,
    () => {
      const line = make("li");
      return { element: line, update: ({ text }) => say(line, text) };
    },
  );
  return {
    element: make(
      "li",
      { class: "card", "data-check": name, "data-level": state },
      make("h3", {}, level.element, " ", since),
      list,
      meaning,
      advice,
    ),
    update(item) {
      const from = item.from === "" ? "" : `, as seen by ${item.from}`;
      say(since, `since ${momentInWords(item.since, Date.now())}${from}`);
      findings.show(item.findings.map((text, at) => ({ key: String(at), text })));
      say(meaning, item.meaning);
      say(advice, item.advice === "" ? "" : `What to do: ${item.advice}`);
    },
  };
}

interface ShardItem extends ShardRow {
  readonly place: number;
}

/** Shards with their members. */
export class ShardList {
  readonly #rows: KeyedList<ShardItem>;
  readonly #legend = new KeyedList<ShardItem>(
    find("legend", HTMLUListElement),
    ({ shard }) => shard.id,
    ({ place }) => {
      const word = make("span");
      const element = make("li", {}, swatch(place), " ", word);
      return { element, update: ({ name, shard }) => say(word, `${name}: ${shard.slot_count}`) };
    },
  );

  constructor(chooser: Chooser) {
    this.#rows = new KeyedList<ShardItem>(
      find("shard-rows", HTMLTableSectionElement),
      ({ shard }) => shard.id,
      (item) => shardElements(item, chooser),
    );
  }

  show(
    shards: readonly ShardView[],
    nodes: ReadonlyMap<string, NodeView>,
    stats: ReadonlyMap<string, NodeStats>,
  ): void {
    const items = shards.map((shard, place): ShardItem => Object.assign(shardRow(shard, nodes, stats), { place }));
    this.#rows.show(worstFirst(items, ({ level }) => level));
    const owning = items.filter(({ shard }) => shard.slot_count > 0);
    this.#legend.show(owning.length > MAX_LEGEND ? [] : owning);
  }
}

function shardElements({ shard, place }: ShardItem, chooser: Chooser): Row<ShardItem> {
  const [name, slots, lease] = [make("span"), make("td", { class: "words" }), make("td")];
  const level = new LevelWord();
  const list = make("ul", { class: "plain" });
  const replicas = new KeyedList<ShardRow["replicas"][number]>(
    list,
    ({ id }) => id,
    () => {
      const word = new LevelWord();
      return {
        element: make("li", {}, word.element),
        update: (replica) => word.show(replica.level, `${replica.name}: ${replica.word}`),
      };
    },
  );
  const more = button("Details", () => chooser.shard(shard.id));
  const element = make(
    "tr",
    { "data-shard": shard.id },
    make("th", { scope: "row" }, swatch(place), " ", name),
    make("td", { class: "words" }, level.element),
    slots,
    lease,
    make("td", {}, list),
    make("td", {}, more),
  );
  return {
    element,
    update(item) {
      mark(element, "data-level", item.level);
      say(name, item.name);
      level.show(item.level, item.word);
      say(slots, item.shard.slot_count === 0 ? "none" : `${item.shard.slot_count}: ${rangesInWords(item.shard.slots)}`);
      say(lease, item.lease);
      replicas.show(item.replicas);
      mark(more, "aria-label", `Details of the shard of ${item.name}`);
    },
  };
}

interface NodeItem {
  readonly node: NodeView;
  readonly role: string;
  readonly stats: NodeStats | undefined;
  readonly word: NodeWord;
  readonly isAmiss: boolean;
}

/** Loop lag beside which a node is looked at twice, as the health check has it. */
const LAG_WARN_MS = 200;

/** Nodes, as far as somebody wants to see them. */
export class NodeList {
  readonly #rows: KeyedList<NodeItem>;
  readonly #filter = find("filter", HTMLFormElement);
  #items: readonly NodeItem[] = [];

  constructor(chooser: Chooser) {
    this.#rows = new KeyedList<NodeItem>(
      find("node-rows", HTMLTableSectionElement),
      ({ node }) => node.id,
      (item) => nodeElements(item, chooser),
    );
    this.#filter.addEventListener("input", () => this.#refilter());
    this.#filter.addEventListener("submit", (event) => event.preventDefault());
  }

  show(nodes: ReadonlyMap<string, NodeView>, stats: ReadonlyMap<string, NodeStats>, health: Cluster["health"]): void {
    this.#items = [...nodes.values()].map((node) => {
      const own = nodeLevel(node) === "critical" ? undefined : stats.get(node.id);
      const word = nodeWord(node, health);
      return {
        node,
        role: roleOf(node, nodes),
        stats: own,
        word,
        isAmiss: word.level !== "ok" || (own?.loop_lag_ms ?? 0) >= LAG_WARN_MS,
      };
    });
    this.#refilter();
  }

  #refilter(): void {
    const text = textIn(this.#filter, "text").toLowerCase();
    const isAmissOnly = new FormData(this.#filter).has("amiss");
    const shown = this.#items.filter(({ node, role, word, isAmiss }) => {
      if (isAmissOnly && !isAmiss) return false;
      return (
        text === "" ||
        `${node.name} ${node.id} ${node.address} ${word.word} ${node.zone} ${role}`.toLowerCase().includes(text)
      );
    });
    this.#rows.show(worstFirst(shown, ({ word, isAmiss }) => (isAmiss && word.level === "ok" ? "warn" : word.level)));
    const all = this.#items.length;
    say(
      find("node-count", HTMLSpanElement),
      shown.length === all ? plural(all, "node") : `${shown.length} of ${plural(all, "node")}`,
    );
  }
}

function roleOf(node: NodeView, nodes: ReadonlyMap<string, NodeView>): string {
  const role =
    node.role === "witness"
      ? "witness"
      : node.is_replica && node.master_id !== null
        ? `replica of ${nameOf(nodes, node.master_id)}`
        : node.slot_count === 0
          ? "no slots"
          : `primary of ${node.slot_count}`;
  return `${role}${node.is_leader ? ", leader" : node.is_voter ? ", voter" : ""}`;
}

function nodeElements({ node }: NodeItem, chooser: Chooser): Row<NodeItem> {
  const cell = (isNumber = true): HTMLTableCellElement => make("td", { class: isNumber ? "number" : undefined });
  const [name, role, address] = [make("span"), cell(false), cell(false)];
  const [lag, commands, memory, keys, clients] = [cell(), cell(), cell(), cell(), cell()];
  const level = new LevelWord();
  const more = button("Details", () => chooser.node(node.id));
  const element = make(
    "tr",
    { "data-node": node.id },
    make("th", { scope: "row" }, name),
    make("td", {}, level.element),
    role,
    lag,
    commands,
    memory,
    keys,
    clients,
    address,
    make("td", {}, more),
  );
  return {
    element,
    update(item) {
      const { stats } = item;
      const told = (value: string | undefined): string => value ?? "-";
      mark(element, "data-level", item.word.level);
      mark(element, "data-state", item.node.state);
      mark(element, "data-name", item.node.name);
      say(name, `${item.node.name || item.node.id.slice(0, 8)}${item.node.is_myself ? " (this one)" : ""}`);
      level.show(item.word.level, item.word.word);
      say(role, item.role);
      say(lag, told(stats && `${Math.round(stats.loop_lag_ms)} ms`));
      mark(lag, "data-level", (stats?.loop_lag_ms ?? 0) >= LAG_WARN_MS ? "warn" : "ok");
      say(commands, told(stats && countInWords(stats.commands_per_second)));
      say(memory, told(stats && bytesInWords(stats.memory_bytes)));
      say(keys, told(stats && countInWords(stats.keys)));
      say(clients, told(stats && countInWords(stats.clients)));
      say(address, item.node.address);
      mark(more, "aria-label", `Details of node ${item.node.name || item.node.id}`);
    },
  };
}

/** Moves of slots: those under way, and some that have ended. */
export class MoveList {
  readonly #rows: KeyedList<MigrationView>;
  #nodes: ReadonlyMap<string, NodeView> = new Map();

  constructor(chooser: Chooser) {
    this.#rows = new KeyedList<MigrationView>(find("move-list", HTMLUListElement), keyOfMove, (move) =>
      this.#row(move, chooser),
    );
  }

  show(migrations: readonly MigrationView[], nodes: ReadonlyMap<string, NodeView>): void {
    this.#nodes = nodes;
    const underWay = migrations.filter(isUnderWay);
    const ended = migrations
      .filter((move) => !isUnderWay(move))
      .toSorted((one, other) => (other.completed_at ?? 0) - (one.completed_at ?? 0))
      .slice(0, MAX_ENDED);
    find("no-moves", HTMLParagraphElement).hidden = underWay.length > 0;
    this.#rows.show([...underWay, ...ended]);
  }

  #row(first: MigrationView, chooser: Chooser): Row<MigrationView> {
    let shown = first;
    const [title, detail, cause] = [make("h3"), make("p"), make("p", { class: "quiet" })];
    const progress = make("progress", { max: 1 });
    const complete = button("Complete...", () => chooser.move(shown, "complete"));
    const cancel = button("Cancel...", () => chooser.move(shown, "cancel"), { class: "cancel" });
    const element = make(
      "li",
      { class: "card", "data-move": keyOfMove(first) },
      title,
      progress,
      detail,
      cause,
      make("div", { class: "line" }, complete, cancel),
    );
    return {
      element,
      update: (move) => {
        shown = move;
        const [from, to] = [move.from_node, move.to_node].map((id) =>
          id === null ? "nobody" : nameOf(this.#nodes, id),
        );
        const what = `${plural(slotsIn(move), "slot")} (${rangesInWords(move.slots, 2)}) from ${from} to ${to}`;
        mark(element, "data-state", move.state);
        say(title, `${what}: ${move.is_paused ? "paused" : move.state}`);
        progress.value = doneOf(move);
        mark(progress, "aria-label", `How far ${what} are`);
        progress.hidden = move.state === "aborted";
        say(detail, moveDetail(move));
        say(cause, readable(move.cause, this.#nodes));
        cancel.hidden = !isUnderWay(move) || move.id === null;
        mark(cancel, "aria-label", `Cancel the move of ${what}`);
        // Others complete by themselves.
        complete.hidden = cancel.hidden || move.auto_complete !== false;
        mark(complete, "aria-label", `Complete the move of ${what}`);
      },
    };
  }
}

/** Moves that have ended and are still shown. */
const MAX_ENDED = 6;

export function keyOfMove({ id, slots }: MigrationView): string {
  return id ?? `slot-${slots[0]?.start ?? 0}`;
}

function moveDetail(move: MigrationView): string {
  if (!isUnderWay(move)) {
    const took =
      move.started_at === null || move.completed_at === null
        ? ""
        : `, took ${durationInWords(move.completed_at - move.started_at)}`;
    const at = move.completed_at === null ? "" : ` at ${momentInWords(move.completed_at, Date.now())}`;
    return `${move.state}${at}${took}${move.fenced_ms === null ? "" : `; commands were held for ${durationInWords(move.fenced_ms)}`}`;
  }
  const parts = [
    move.keys_migrated === null || move.total_keys === null
      ? undefined
      : `${countInWords(move.keys_migrated)} of ${countInWords(move.total_keys)} keys`,
    move.bytes === null ? undefined : bytesInWords(move.bytes),
    move.rate === null ? undefined : `${bytesInWords(move.rate)}/s`,
    move.eta_ms === null ? undefined : `${durationInWords(move.eta_ms)} to go`,
    move.waiting_for === null ? undefined : `waits for ${move.waiting_for}`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

/** Something that happened. */
export interface Happening {
  readonly key: string;
  readonly timeMs: number;
  readonly level: Level;
  readonly title: string;
  readonly details: readonly string[];
}

/** Events that are kept. */
const MAX_EVENTS = 400;
/** Changes of one act that are told. */
const MAX_DETAILS = 6;

/** What happened, the newest first. */
export class EventList {
  readonly #filter = find("event-filter", HTMLInputElement);
  readonly #rows = new KeyedList<Happening>(find("event-list", HTMLOListElement), ({ key }) => key, eventRow);
  #all: readonly Happening[] = [];

  constructor() {
    this.#filter.addEventListener("input", () => this.#refilter());
    this.#filter.form?.addEventListener("submit", (event) => event.preventDefault());
  }

  add(happenings: readonly Happening[], nodes: ReadonlyMap<string, NodeView>): void {
    const named = happenings.map((each) => ({
      ...each,
      title: readable(each.title, nodes),
      details: each.details.map((detail) => readable(detail, nodes)),
    }));
    const byKey = new Map([...this.#all, ...named].map((each) => [each.key, each]));
    this.#all = [...byKey.values()].toSorted((one, other) => other.timeMs - one.timeMs).slice(0, MAX_EVENTS);
    this.#refilter();
  }

  #refilter(): void {
    const text = this.#filter.value.trim().toLowerCase();
    this.#rows.show(
      this.#all.filter(({ title, details }) => `${title} ${details.join(" ")}`.toLowerCase().includes(text)),
    );
  }
}

function eventRow({ timeMs, level, title, details }: Happening): Row<Happening> {
  const word = new LevelWord();
  word.show(level, title);
  const shown = details.slice(0, MAX_DETAILS).map((detail) => make("li", {}, detail));
  if (details.length > MAX_DETAILS) shown.push(make("li", {}, `and ${details.length - MAX_DETAILS} more changes`));
  const time = make("time", { datetime: new Date(timeMs).toISOString() }, momentInWords(timeMs, Date.now()));
  const element = make("li", {}, time, " ", word.element, shown.length === 0 ? undefined : make("ul", {}, ...shown));
  return { element, update: () => undefined };
}
