/**
 * The page for operators. It reads the cluster by REST, follows the event stream, and reads anew what an event says has changed: what is shown is what REST says, and
 * never put together from events that may have been missed.
 */
import type {
  CheckView,
  HealthView,
  Info,
  MigrationView,
  NodeStats,
  NodeView,
  ShardView,
  Stats,
} from "../src/rest/schemas.ts";
import { Actions } from "./actions.ts";
import { Refusal, readAnswer, reasonOf, whyLost } from "./answers.ts";
import { Api } from "./api.ts";
import { Charts } from "./charts.ts";
import { find, say, textIn } from "./elements.ts";
import type { ServerEvent } from "./event-reader.ts";
import { type Act, type Cluster, type Level, isNewState, isUnderWay, nameOf } from "./model.ts";
import { ownersOf } from "./slot-colours.ts";
import { SlotMap } from "./slot-map.ts";
import { EventList, type Happening, HealthList, MoveList, NodeList, Overview, ShardList } from "./views.ts";
import { plural } from "./words.ts";

/** How often nodes are asked what they do. */
const STATS_MS = 2000;
/** With so many nodes, each is asked less often. */
const STATS_MS_PER_NODE = 25;
/** How often it is looked how far moves are, while there are some. */
const MOVES_MS = 700;
/** Events that come together are one reason to read. */
const GATHER_MS = 120;
/** What no event tells of (a lease that lapses, lag) is read so often. */
const REFRESH_MS = 5000;
const [FIRST_RETRY_MS, LAST_RETRY_MS] = [500, 8000];
const HISTORY = 100;

interface Caller {
  readonly role: "none" | "read" | "operate" | "admin";
  readonly has_token: boolean;
}

class Dashboard {
  readonly #api = new Api();
  readonly #overview = new Overview();
  readonly #checks = new HealthList();
  readonly #events = new EventList();
  readonly #charts = new Charts();
  readonly #actions: Actions;
  readonly #shards: ShardList;
  readonly #nodes: NodeList;
  readonly #moves: MoveList;
  readonly #map: SlotMap;
  readonly #connection = find("connection", HTMLParagraphElement);
  readonly #main = find("main", HTMLElement);
  readonly #signIn = find("sign-in", HTMLFormElement);
  #cluster: Cluster | undefined;
  /** What the checks say; `undefined`: nobody judges health, or nothing was told yet. */
  #health: HealthView | undefined;
  #byId: ReadonlyMap<string, NodeView> = new Map();
  #stats: ReadonlyMap<string, NodeStats> = new Map();
  #migrations: readonly MigrationView[] = [];
  #owners: Int16Array = new Int16Array();
  #lastEvent = "";
  /** How the cluster was when that was told last: a stream begins with it, which is nothing that happened. */
  #toldState: Pick<Info, "state" | "reasons"> | undefined;
  #eventCount = 0;
  #isReading = false;
  #isStale = false;
  #isAskingHealth = false;
  #isHealthStale = false;
  #gathering = 0;
  /** Ends what is under way when another token is used. */
  #session = new AbortController();

  constructor() {
    this.#actions = new Actions(this.#api, () => this.#soon());
    const chooser = {
      node: (id: string) => this.#actions.node(id),
      shard: (id: string) => this.#actions.shard(id),
      move: (move: MigrationView, what: "cancel" | "complete") => this.#actions[what](move),
    };
    this.#shards = new ShardList(chooser);
    this.#nodes = new NodeList(chooser);
    this.#moves = new MoveList(chooser);
    const form = find("find", HTMLFormElement);
    this.#map = new SlotMap(find("map", HTMLCanvasElement), find("map-mark", HTMLDivElement), (slot, isChosen) => {
      this.#point(slot);
      if (isChosen && slot !== undefined) this.#actions.explain(`slot=${slot}`, `Slot ${slot}`);
    });
    form.addEventListener("input", () => {
      const text = textIn(form, "slot");
      this.#point(/^[0-9]{1,5}$/.test(text) && Number(text) < 16_384 ? Number(text) : undefined);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [slot, key] = [textIn(form, "slot"), textIn(form, "key")];
      if (key !== "") this.#actions.explain(`key=${encodeURIComponent(key)}`, `Key ${key}`);
      else if (slot !== "") this.#actions.explain(`slot=${encodeURIComponent(slot)}`, `Slot ${slot}`);
    });
    find("rebalance", HTMLButtonElement).addEventListener("click", () => this.#actions.rebalance());
    find("token", HTMLButtonElement).addEventListener("click", () =>
      this.#askForToken("Another token may do more, or less."),
    );
    this.#signIn.addEventListener("submit", (event) => {
      event.preventDefault();
      const token = textIn(this.#signIn, "token");
      this.#signIn.reset();
      this.#api.token = token === "" ? undefined : token;
      this.start();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#soon();
    });
  }

  /** Begins, or begins anew with another token. */
  start(): void {
    this.#session.abort();
    this.#session = new AbortController();
    this.#signIn.hidden = true;
    const { signal } = this.#session;
    void this.#open(signal);
  }

  async #open(signal: AbortSignal): Promise<void> {
    try {
      const caller = await this.#api.get<Caller>("/dashboard/caller");
      if (signal.aborted) return;
      if (caller.role === "none") {
        this.#end("This node tells nothing without a token.");
        return;
      }
      this.#mayOperate(caller.role === "operate" || caller.role === "admin");
      say(
        find("token", HTMLButtonElement),
        caller.has_token ? `Token: ${caller.role}` : `Without a token: ${caller.role}`,
      );
      await this.#read();
      this.#main.hidden = false;
      void this.#readHealth();
      await this.#history();
    } catch (thrown) {
      this.#refused(thrown, signal);
      if (!signal.aborted) setTimeout(() => !signal.aborted && void this.#open(signal), 2000);
      return;
    }
    void this.#follow(signal);
    void this.#watchStats(signal);
    void this.#watchMoves(signal);
    void this.#watchRest(signal);
  }

  #refused(thrown: unknown, signal: AbortSignal): void {
    if (signal.aborted) return;
    if (thrown instanceof Refusal && thrown.status === 401) {
      this.#api.token = undefined;
      this.#end(thrown.message);
    } else this.#tell("lost", `${reasonOf(thrown)} Trying again; what is shown may be old.`);
  }

  /** Asks for nothing more until there is another token: to be refused over and over helps nobody. */
  #end(reason: string): void {
    this.#session.abort();
    clearTimeout(this.#gathering);
    this.#gathering = 0;
    this.#mayOperate(false);
    say(find("token", HTMLButtonElement), "Signed out");
    const isShown = !this.#main.hidden;
    this.#tell(
      "lost",
      isShown ? "Nothing is asked any more: a token is needed. What is shown is old." : "Not signed in.",
    );
    this.#askForToken(reason);
  }

  #mayOperate(isAllowed: boolean): void {
    this.#actions.mayOperate = isAllowed;
    find("rebalance", HTMLButtonElement).hidden = !isAllowed;
  }

  #askForToken(reason: string): void {
    say(find("sign-in-reason", HTMLParagraphElement), reason);
    this.#signIn.hidden = false;
    this.#signIn.querySelector("input")?.focus();
  }

  #tell(state: "live" | "lost", text: string): void {
    this.#connection.dataset["state"] = state;
    say(this.#connection, text);
  }

  /** Reads the cluster, once for all events of a moment. */
  #soon(): void {
    // What comes of an earlier session is no word on this one.
    const { signal } = this.#session;
    if (this.#gathering !== 0 || signal.aborted) return;
    this.#gathering = window.setTimeout(() => {
      this.#gathering = 0;
      void this.#read().catch((thrown: unknown) => this.#refused(thrown, signal));
      void this.#readHealth();
    }, GATHER_MS);
  }

  async #read(): Promise<void> {
    // What changes meanwhile is read after that.
    if (this.#isReading) {
      this.#isStale = true;
      return;
    }
    this.#isReading = true;
    try {
      const [info, { nodes }, { shards }, { migrations }, own] = await Promise.all([
        this.#api.get<Info>("/cluster/info"),
        this.#api.get<{ nodes: NodeView[] }>("/cluster/nodes"),
        this.#api.get<{ shards: ShardView[] }>("/cluster/shards"),
        this.#api.get<{ migrations: MigrationView[] }>("/cluster/migrations"),
        // Until all nodes have told, what this one says is more than nothing.
        this.#health === undefined
          ? this.#api.get<HealthView>("/cluster/health").catch(() => undefined)
          : Promise.resolve(undefined),
      ]);
      this.#health ??= own;
      const cluster = { info, nodes, shards, health: this.#health };
      this.#announce(cluster);
      this.#cluster = cluster;
      this.#byId = new Map(nodes.map((node) => [node.id, node]));
      this.#owners = ownersOf(shards);
      this.#migrations = migrations;
      this.#show();
    } finally {
      this.#isReading = false;
      if (this.#isStale) {
        this.#isStale = false;
        this.#soon();
      }
    }
  }

  /** Asks what all nodes say of health. Not with the rest: those that do not answer are waited for. */
  async #readHealth(): Promise<void> {
    if (this.#isAskingHealth) {
      this.#isHealthStale = true;
      return;
    }
    this.#isAskingHealth = true;
    try {
      do {
        this.#isHealthStale = false;
        this.#health = await this.#api.get<HealthView>("/cluster/health?nodes=all");
      } while (this.#isHealthStale);
    } catch (thrown) {
      // Nobody judges it. Of all else those tell who read the rest.
      if (thrown instanceof Refusal && thrown.status === 503) this.#health = undefined;
    } finally {
      this.#isAskingHealth = false;
    }
    if (this.#cluster === undefined) return;
    this.#cluster = { ...this.#cluster, health: this.#health };
    this.#show();
  }

  #show(): void {
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    const { shards } = cluster;
    this.#overview.show(cluster, this.#byId);
    this.#checks.show(cluster, this.#byId);
    this.#shards.show(shards, this.#byId, this.#stats);
    this.#nodes.show(this.#byId, this.#stats, this.#health);
    this.#actions.show(cluster, this.#byId);
    this.#charts.choose(cluster.nodes);
    this.#showMoves();
  }

  #showMoves(): void {
    const shards = this.#cluster?.shards ?? [];
    this.#map.show(shards, this.#migrations);
    this.#moves.show(this.#migrations, this.#byId);
    const owned = shards.filter(({ slot_count }) => slot_count > 0);
    const lost = owned.filter(({ is_served }) => !is_served);
    const moving = this.#migrations.filter(isUnderWay).length;
    const word = [
      `16384 slots, 128 in a row, in ${plural(owned.length, "shard")}.`,
      lost.length === 0
        ? ""
        : `Red: the slots of ${lost.map(({ primary }) => nameOf(this.#byId, primary)).join(", ")} are not served.`,
      moving === 0 ? "" : `${plural(moving, "move")} under way.`,
    ]
      .filter((part) => part !== "")
      .join(" ");
    say(find("map-word", HTMLParagraphElement), word);
    find("map", HTMLCanvasElement).setAttribute("aria-label", `${word} The list of shards says which slots each has.`);
  }

  /** Says which slot is pointed at, and whose it is. */
  #point(slot: number | undefined): void {
    this.#map.point(slot);
    const place = slot === undefined ? -1 : (this.#owners[slot] ?? -1);
    const shard = this.#cluster?.shards[place];
    const move =
      slot === undefined
        ? undefined
        : this.#migrations.find(
            (each) => isUnderWay(each) && each.slots.some(({ start, end }) => start <= slot && slot <= end),
          );
    const to =
      move?.to_node === null || move === undefined ? "" : `, on its way to ${nameOf(this.#byId, move.to_node)}`;
    const whose =
      shard === undefined
        ? "nobody's"
        : `${nameOf(this.#byId, shard.primary)}'s${shard.is_served ? "" : ", and not served"}`;
    say(find("found", HTMLParagraphElement), slot === undefined ? "" : `Slot ${slot} is ${whose}${to}.`);
  }

  /** What changed for the worse or the better is said aloud. */
  #announce(next: Cluster): void {
    const last = this.#cluster;
    if (last === undefined || last.info.state === next.info.state) return;
    say(
      find("announcements", HTMLDivElement),
      `The cluster is ${next.info.state}. ${next.info.reasons.slice(0, 2).join(". ")}`,
    );
  }

  async #history(): Promise<void> {
    const { history } = await this.#api.get<{ history: Act[] }>(`/cluster/history?limit=${HISTORY}`);
    this.#events.add(history.map(happeningOf), this.#byId);
  }

  /** Follows events until the session ends; a stream that breaks is opened again, after the last event. */
  async #follow(signal: AbortSignal): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      let ended: unknown;
      try {
        await this.#api.follow(
          this.#lastEvent,
          (event) => {
            retryMs = FIRST_RETRY_MS;
            this.#tell("live", "Live.");
            this.#happened(event);
          },
          signal,
        );
      } catch (thrown) {
        ended = thrown;
        this.#refused(thrown, signal);
      }
      if (signal.aborted) return;
      this.#tell("lost", whyLost(ended));
      await pause(retryMs, signal);
      retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
    }
  }

  #happened(event: ServerEvent): void {
    const data = readAnswer(event.data);
    if (event.type === "start") {
      const isAnew = this.#lastEvent !== "" && event.id !== this.#lastEvent;
      if (isAnew) void this.#history().catch(() => undefined);
    }
    this.#lastEvent = event.id;
    this.#eventCount += 1;
    if (event.type === "state") {
      const state = data as Pick<Info, "state" | "reasons">;
      const isNews = isNewState(state, this.#toldState);
      this.#toldState = state;
      if (!isNews) return;
    }
    const happening = eventOf(event.type, data, `event-${this.#eventCount}`, (id) => nameOf(this.#byId, id));
    if (happening !== undefined) this.#events.add([happening], this.#byId);
    this.#soon();
  }

  async #watchStats(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (document.visibilityState === "visible") {
        try {
          const { nodes } = await this.#api.get<Stats>("/cluster/stats");
          this.#stats = new Map(
            nodes.flatMap(({ node_id: id, stats }) => (stats === null ? [] : [[id, stats] as const])),
          );
          this.#charts.add(this.#stats, Date.now());
          this.#shards.show(this.#cluster?.shards ?? [], this.#byId, this.#stats);
          this.#nodes.show(this.#byId, this.#stats, this.#health);
        } catch (thrown) {
          this.#refused(thrown, signal);
        }
      }
      await pause(Math.max(STATS_MS, this.#byId.size * STATS_MS_PER_NODE), signal);
    }
  }

  async #watchMoves(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(MOVES_MS, signal);
      if (signal.aborted || !this.#migrations.some(isUnderWay)) continue;
      try {
        this.#migrations = (await this.#api.get<{ migrations: MigrationView[] }>("/cluster/migrations")).migrations;
        this.#showMoves();
      } catch (thrown) {
        this.#refused(thrown, signal);
      }
    }
  }

  async #watchRest(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(REFRESH_MS, signal);
      if (!signal.aborted && document.visibilityState === "visible") this.#soon();
    }
  }
}

/** Waits, or until the session ends. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function happeningOf({ version, time, cause, changes }: Act): Happening {
  return { key: `version-${version}`, timeMs: time, level: "ok", title: `map ${version}: ${cause}`, details: changes };
}

interface MemberEvent {
  readonly node_id: string;
  readonly state: NodeView["state"];
  readonly previous: string;
  readonly reason: string;
}

/** An event of the stream, as it is listed; `undefined`: it is not. */
function eventOf(type: string, data: unknown, key: string, name: (id: string) => string): Happening | undefined {
  const timeMs = Date.now();
  switch (type) {
    case "change":
      return happeningOf(data as Act);
    case "member": {
      const { node_id: id, state, previous, reason } = data as MemberEvent;
      const level: Level = state === "alive" ? "ok" : state === "suspect" ? "warn" : "critical";
      return { key, timeMs, level, title: `node ${name(id)} is ${state}, and was ${previous}: ${reason}`, details: [] };
    }
    case "state": {
      const { state, reasons } = data as Pick<Info, "state" | "reasons">;
      const level: Level = { ok: "ok", degraded: "warn", fail: "critical" }[state] as Level;
      return { key, timeMs, level, title: `the cluster is ${state}`, details: reasons };
    }
    case "health": {
      const { name: check, state, summary, advice } = data as CheckView;
      const details = advice === "" ? [] : [`What to do: ${advice}`];
      return { key, timeMs, level: state, title: `health, ${check}: ${state}. ${summary}`, details };
    }
    default:
      return undefined;
  }
}

new Dashboard().start();
