/**
 * bus: frames and datagrams between nodes.
 *
 * Promises: nothing is delivered that was not sent by somebody who knows the cluster's secret, and on channels of members by a node of the same cluster;
 * frames of one sender on one link arrive in order, each once or never, as they were sent; a datagram arrives once or never, from the sender's present start to
 * this one; what waits for a node that does not read is bounded, and dropped beyond that; a stranger costs no more than its first bytes. The secret can be
 * changed while all goes on.
 *
 * How: each node opens a stream of its own to every node that it sends to, and only reads from those that others open. A stream begins with a mutual proof
 * (`src/protocol/link/handshake.ts`); its frames are sealed, if there is a secret (`frame-seal.ts`). There are two kinds, members' and meeting links, each with a stream of its own.
 * One that breaks is opened again when there is something to send, after a pause that grows with each failure. A meeting link that is idle is closed. Datagrams go over a socket of the same port, sealed
 * for the cluster and both nodes' starts (`datagrams.ts`).
 *
 * To change the secret of a running cluster: give each node both (`CONFIG SET cluster-secret "old new"`), then each `"new old"`, then each `new`. `-` is none.
 * With the last step links that were made by the old one end, and are made anew. Write the new one into the nodes' files or settings as well: that is what the next start reads.
 *
 * Talks to the rest through the service `bus`: channels, on which protocols send bytes, and datagrams.
 */
import { Type } from "@sinclair/typebox";
import { Fault } from "../src/assert.ts";
import { IncomingLink, MAX_FRAME_BYTES } from "../src/bus/incoming-link.ts";
import type { LinkHost, LinkReason, LinkTraffic } from "../src/bus/link-host.ts";
import { OutgoingLink } from "../src/bus/outgoing-link.ts";
import { readSecrets } from "../src/bus/read-secrets.ts";
import { type LinkKind, NONCE_BYTES } from "../src/codec/link-codec.ts";
import { BUS_PORT_OFFSET } from "../src/config.ts";
import {
  type Bus,
  type BusAddress,
  BusChannel,
  type BusCluster,
  type BusSender,
  busService,
} from "../src/contracts/bus.ts";
import { StartError, messageOf } from "../src/errors.ts";
import { isLoopback } from "../src/loopback.ts";
import { isEveryAddress } from "../src/net-address.ts";
import { definePlugin } from "../src/plugin.ts";
import { DATAGRAM_REFUSALS, Datagrams, MAX_DATAGRAM_BYTES } from "../src/protocol/link/datagrams.ts";
import { ClusterSecrets, isAmong, parseSecrets } from "../src/protocol/link/secrets.ts";
import { type DatagramSocket, type Listener, NetworkError } from "../src/world.ts";

/** Strangers that come again and again are told of once in so long, for each reason and place. */
const REFUSAL_LOG_MS = 10_000;
/** A meeting link on which nothing has gone out for so long is closed: nodes that met once would hold a stream to each other for ever. How often that is looked at. */
const REST_MS = 30_000;
const REST_STEP_MS = 10_000;
/** Strangers that are told apart. What more come are told of as one. */
const MAX_TOLD = 100;
/** A port that the machine chose for streams may be taken for datagrams: how many are tried. */
const CHOSEN_PORT_TRIES = 10;

const settingsSchema = Type.Object({
  maxQueuedBytes: Type.Integer({
    description: "Bytes that may wait for one other node; frames beyond are dropped, and their protocols send anew.",
    default: 16 * 1024 * 1024,
    minimum: MAX_FRAME_BYTES,
  }),
  maxLinks: Type.Integer({
    description:
      "Streams that other nodes may have open to this one, and streams that this one may open. Beyond that those are closed first that have proved nothing.",
    default: 2000,
    minimum: 1,
  }),
  connectTimeoutMs: Type.Integer({
    description:
      "How long opening a stream to another node may take, in milliseconds; the proof of who is there, five times as long.",
    default: 1000,
    minimum: 10,
  }),
  retryMinMs: Type.Integer({
    description: "The pause after the first failure to reach a node, in milliseconds; it doubles with each one more.",
    default: 50,
    minimum: 1,
  }),
  retryMaxMs: Type.Integer({
    description: "The longest pause between attempts to reach a node, in milliseconds.",
    default: 1000,
    minimum: 1,
  }),
});

export default definePlugin({
  name: "bus",
  summary: "Carries what nodes say to each other.",
  provides: { bus: busService },
  settings: settingsSchema,
  async setup(context) {
    const { core, node, settings, world } = context;
    const { clock, network, log, random } = world;
    if (core.busPort !== undefined && core.busPort === core.port) {
      throw new StartError(
        `Settings "port" and "busPort" are both ${core.port}: clients and other nodes want a port each.`,
      );
    }
    const secrets = await readSecrets(core, world.machine);
    if (secrets.length === 0 && !core.insecure && !isLoopback(core.host)) {
      throw new StartError(
        `Cannot listen on ${core.host} for other nodes without a cluster secret: give one (--secret-file, BUNCH_SECRET), listen on 127.0.0.1, or allow it with --insecure`,
      );
    }
    const secret = new ClusterSecrets(secrets);
    const announcedHost = (core.announceBusHost ?? core.announceHost ?? core.host).split(",")[0] ?? core.host;
    const announced = (): BusAddress => ({ host: announcedHost, port: core.announceBusPort ?? port });
    const isNowhere = isEveryAddress(announcedHost);
    let port = core.busPort ?? (core.port === 0 ? 0 : Math.min(core.port + BUS_PORT_OFFSET, 65535));
    const receivers = new Map<number, (from: BusSender, bytes: Uint8Array) => void>();
    const lossListeners: ((address: BusAddress, nodeId: string | undefined) => void)[] = [];
    const outgoing = new Map<string, OutgoingLink>();
    const incoming = new Set<IncomingLink>();
    let cluster: BusCluster | undefined;
    let listener: Listener | undefined;
    let isStopped = false;
    let refusedLinks = 0;
    /** Of members, before this node was in a cluster, or the other one. */
    let earlyLinks = 0;
    let droppedFrames = 0;
    /** On a channel that the link's kind does not carry. */
    let misplacedFrames = 0;
    /** When each reason was told last, by direction and place: `MAX_TOLD` of them, and one for each reason and direction. */
    const toldAtMs = new Map<string, number>();
    const traffic: LinkTraffic = { sentFrames: 0, sentBytes: 0, receivedFrames: 0, receivedBytes: 0 };

    const guarded = (what: string, from: string, run: () => void): void => {
      try {
        run();
      } catch (thrown) {
        if (thrown instanceof Fault) context.fault(thrown);
        else log.error(`bus ${what} failed`, { from, reason: messageOf(thrown) });
      }
    };

    // --- links ---

    const host: LinkHost = {
      clock,
      network,
      log,
      settings,
      traffic,
      get nodeId() {
        return node.id;
      },
      otherPlaces: (address) => cluster?.otherPlaces?.(address) ?? [],
      self: () => ({ nodeId: node.id, ...announced(), clusterId: cluster?.id, keys: secret.keys }),
      nonce: () => random.bytes(NONCE_BYTES),
      cameBack: (hello) => {
        for (const link of outgoing.values()) link.cameBack(hello);
      },
      refused: (direction: "to" | "from", reason: LinkReason, text: string, peer: string) => {
        if (reason === "no-cluster") {
          earlyLinks += 1;
          log.debug("bus link came early", { [direction]: peer, reason: text });
          return;
        }
        refusedLinks += 1;
        const nowMs = clock.monotonicMs();
        // Whoever comes has another port each time.
        const place = direction === "to" ? peer : peer.replace(/:[0-9]+$/, "");
        if (toldAtMs.size >= MAX_TOLD) {
          for (const [topic, atMs] of toldAtMs) if (nowMs - atMs >= REFUSAL_LOG_MS) toldAtMs.delete(topic);
        }
        const topic = toldAtMs.size < MAX_TOLD ? `${direction} ${reason} ${place}` : `${direction} ${reason}`;
        if (nowMs - (toldAtMs.get(topic) ?? Number.NEGATIVE_INFINITY) < REFUSAL_LOG_MS) return;
        toldAtMs.set(topic, nowMs);
        log.warn("bus link refused", { [direction]: peer, reason: text, refused: refusedLinks });
      },
      lost: (address, nodeId) => {
        if (isStopped) return;
        for (const each of lossListeners) guarded("link", nodeId ?? "", () => each(address, nodeId));
      },
    };

    /** @returns `undefined` if there are too many: addresses come from other nodes, and whoever makes them up makes nothing grow. */
    const linkTo = (address: BusAddress, kind: LinkKind): OutgoingLink | undefined => {
      const key = linkKey(address, kind);
      const known = outgoing.get(key);
      if (known !== undefined) return known;
      if (outgoing.size >= settings.maxLinks) {
        const nowMs = clock.monotonicMs();
        for (const [each, link] of outgoing) if (link.isIdle(nowMs)) outgoing.delete(each);
        if (outgoing.size >= settings.maxLinks) return undefined;
      }
      const link = new OutgoingLink(host, address, kind);
      outgoing.set(key, link);
      return link;
    };

    const deliver = (kind: LinkKind, sender: BusSender, channel: number, payload: Uint8Array): void => {
      if (isStopped) return;
      if (kindOf(channel) !== kind) {
        misplacedFrames += 1;
        return;
      }
      guarded("frame", sender.nodeId, () => receivers.get(channel)?.(sender, payload));
    };

    // --- datagrams ---

    const datagrams = new Datagrams(node, node.runId, secret.keys);
    let socket: DatagramSocket | undefined;
    let receiveDatagram: ((from: string, bytes: Uint8Array) => void) | undefined;
    const datagramCounts = { sent: 0, sentBytes: 0, received: 0, receivedBytes: 0, dropped: 0 };
    const refusedDatagrams = new Map(DATAGRAM_REFUSALS.map((reason) => [reason, 0]));
    const receivedDatagram = (bytes: Uint8Array): void => {
      if (isStopped) return;
      datagramCounts.received += 1;
      datagramCounts.receivedBytes += bytes.length;
      const opened = datagrams.open(bytes);
      if (typeof opened === "string") refusedDatagrams.set(opened, (refusedDatagrams.get(opened) ?? 0) + 1);
      else guarded("datagram", opened.from, () => receiveDatagram?.(opened.from, opened.payload));
    };

    /** Whoever has proved a secret that is accepted no more may know no other: its links end. Those of members are made anew. */
    const endStrangers = (): void => {
      const isStranger = ({ key }: { readonly key: Uint8Array | undefined }): boolean =>
        key !== undefined && !isAmong(secret.keys, key);
      for (const link of incoming) if (isStranger(link)) link.close();
      for (const link of outgoing.values()) if (isStranger(link)) link.breakOff();
    };
    context.parameter({
      name: "cluster-secret",
      isSecret: true,
      get: () => secret.description,
      keep: () => {
        const setBack = secret.keep();
        return () => {
          setBack();
          datagrams.setKeys(secret.keys);
        };
      },
      set: (value) => {
        const parsed = parseSecrets(value);
        if ("problem" in parsed) return parsed.problem;
        secret.replace(parsed.secrets);
        datagrams.setKeys(secret.keys);
        endStrangers();
        log.info("cluster secret changed", { present: secret.description });
        return undefined;
      },
    });

    /** Others would answer to an address that is theirs as well. */
    let isNowhereTold = false;
    const tellNowhere = (): void => {
      if (isNowhereTold) return;
      isNowhereTold = true;
      log.error("bus: this node cannot talk to others", {
        reason: `it listens on every address (${announcedHost}), and does not say where it is reached: --announce-host does`,
      });
    };

    /**
     * A link from another node is over. That tells of the node, unless it was a meeting, which ends or has been silent for long; or there is a later one: then the
     * other side has given this one up long ago, and word of that was late.
     */
    const closed = (link: IncomingLink): boolean => {
      incoming.delete(link);
      const isLater = ({ kind, sender, createdAtMs }: IncomingLink): boolean =>
        kind === "member" && sender?.nodeId === link.sender?.nodeId && createdAtMs >= link.createdAtMs;
      return link.kind === "member" && ![...incoming].some(isLater);
    };

    const bus: Bus = {
      get address() {
        return announced();
      },
      receive: (channel, receive) => void receivers.set(channel, receive),
      send: (to: BusAddress, channel: BusChannel, bytes: Uint8Array, isTurnOver = false) => {
        const kind = kindOf(channel);
        if (isNowhere) tellNowhere();
        const isPossible =
          !isStopped &&
          !isNowhere &&
          bytes.length <= MAX_FRAME_BYTES &&
          (kind === "meeting" || cluster !== undefined) &&
          (to.host !== announcedHost || to.port !== (core.announceBusPort ?? port));
        const isTaken = isPossible && linkTo(to, kind)?.send(channel, bytes, isTurnOver) === true;
        if (!isTaken) droppedFrames += 1;
        return isTaken;
      },
      nodeAt: (address) => {
        const link = outgoing.get(linkKey(address, "meeting"));
        return link?.isToSelf === true ? node.id : link?.nodeId || undefined;
      },
      queuedBytes: (to) => outgoing.get(linkKey(to, "member"))?.queuedBytes ?? 0,
      links: () => [
        ...[...outgoing.values()]
          .filter((link) => link.hasStream)
          .map(({ kind, nodeId, createdAtMs, queuedBytes }) => ({
            direction: "to" as const,
            kind,
            nodeId,
            createdAtMs,
            queuedBytes,
          })),
        ...[...incoming].map(({ kind, sender, createdAtMs }) => ({
          direction: "from" as const,
          kind,
          nodeId: sender?.nodeId ?? "",
          createdAtMs,
          queuedBytes: 0,
        })),
      ],
      setCluster(next) {
        const isSame = next?.id === cluster?.id;
        cluster = next;
        datagrams.setCluster(next);
        if (isSame) return;
        for (const [key, link] of outgoing) {
          if (link.kind !== "member") continue;
          outgoing.delete(key);
          link.close();
        }
        for (const link of incoming) if (link.kind === "member") link.close();
      },
      receiveDatagrams: (receive) => {
        receiveDatagram = receive;
      },
      sendDatagram: (to, bytes) => {
        const sealed = isStopped ? undefined : datagrams.seal(to, bytes);
        if (sealed === undefined || socket === undefined) {
          datagramCounts.dropped += 1;
          return false;
        }
        datagramCounts.sent += 1;
        datagramCounts.sentBytes += sealed.bytes.length;
        socket.send(sealed.bytes, sealed.address.host, sealed.address.port);
        return true;
      },
      maxDatagramBytes: MAX_DATAGRAM_BYTES,
      onLinkLost: (listen) => void lossListeners.push(listen),
    };

    context.on(context.hooks.info, () => ({
      section: "cluster",
      fields: {
        bus_links_out: [...outgoing.values()].filter((link) => link.isOpen).length,
        bus_links_in: incoming.size,
        bus_sent_frames: traffic.sentFrames,
        bus_sent_bytes: traffic.sentBytes,
        bus_received_frames: traffic.receivedFrames,
        bus_received_bytes: traffic.receivedBytes,
        bus_refused_links: refusedLinks,
        bus_early_links: earlyLinks,
        bus_dropped_frames: droppedFrames,
        bus_misplaced_frames: misplacedFrames,
        bus_sent_datagrams: datagramCounts.sent,
        bus_sent_datagram_bytes: datagramCounts.sentBytes,
        bus_received_datagrams: datagramCounts.received,
        bus_received_datagram_bytes: datagramCounts.receivedBytes,
        bus_dropped_datagrams: datagramCounts.dropped,
        bus_datagram_peers: datagrams.peerCount,
        ...Object.fromEntries(
          [...refusedDatagrams].map(([reason, count]) => [`bus_refused_datagrams_${reason}`, count]),
        ),
      },
    }));

    // --- life ---

    /** Of too many links the one goes that has had longest to prove itself, and has not: strangers in whatever number keep no member out. */
    const makeRoom = (): void => {
      if (incoming.size <= settings.maxLinks) return;
      for (const link of incoming) {
        if (link.sender !== undefined) continue;
        incoming.delete(link);
        link.refuse("full", `there are more than ${settings.maxLinks} links, and it has proved nothing yet`);
        return;
      }
    };

    /** Opens the port for streams, and the same for datagrams. */
    const open = async (): Promise<void> => {
      const chosen = port;
      for (let tries = 1; ; tries += 1) {
        const opened = await network.listen({
          host: core.host,
          port: chosen,
          accept: (stream) => {
            const link = new IncomingLink(host, stream, { deliver, closed });
            incoming.add(link);
            makeRoom();
            return link;
          },
        });
        try {
          socket = await network.bind({ host: core.host, port: opened.port, received: receivedDatagram });
        } catch (thrown) {
          opened.close();
          if (chosen === 0 && thrown instanceof NetworkError && tries < CHOSEN_PORT_TRIES) continue;
          throw thrown;
        }
        listener = opened;
        port = opened.port;
        return;
      }
    };
    context.on(
      context.hooks.start,
      async () => {
        try {
          await open();
          context.every(REST_STEP_MS, () => {
            const nowMs = clock.monotonicMs();
            for (const link of outgoing.values()) if (link.kind === "meeting") link.rest(nowMs, REST_MS);
          });
        } catch (thrown) {
          if (!(thrown instanceof NetworkError)) throw thrown;
          const derived = core.busPort === undefined ? `: the client port ${core.port} + ${BUS_PORT_OFFSET}` : "";
          throw new StartError(`${thrown.message} (the port is for other nodes${derived}; --bus-port names another)`);
        }
      },
      { order: "pre" },
    );
    context.on(
      context.hooks.stop,
      () => {
        isStopped = true;
        listener?.close();
        socket?.close();
        for (const link of outgoing.values()) link.close();
        for (const link of incoming) link.close();
      },
      { order: "pre" },
    );
    return { bus };
  },
});

/** Which kind of link carries a channel. */
function kindOf(channel: number): LinkKind {
  return channel === BusChannel.formation || channel === BusChannel.meeting ? "meeting" : "member";
}

function linkKey({ host, port }: BusAddress, kind: LinkKind): string {
  return `${kind} ${host}:${port}`;
}
