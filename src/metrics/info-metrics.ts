/** Metrics that plugins tell in INFO: which field is which. What a node without a plugin does not tell is left out. */
import type { InfoSection } from "../hooks.ts";
import type { FamilyName } from "./catalog.ts";
import type { Labels, Samples } from "./samples.ts";

interface InfoMetric {
  readonly field: string;
  readonly name: FamilyName;
  readonly labels?: Labels;
}

/** By the fields' names. */
export const INFO_METRICS: readonly InfoMetric[] = [
  { field: "maxclients", name: "bunch_max_clients" },
  { field: "blocked_clients", name: "bunch_blocked_clients" },
  { field: "rejected_connections", name: "bunch_refused_connections_total" },
  { field: "total_net_input_bytes", name: "bunch_client_received_bytes_total" },
  { field: "total_net_output_bytes", name: "bunch_client_sent_bytes_total" },
  { field: "evicted_keys", name: "bunch_evicted_keys_total" },
  { field: "maxmemory", name: "bunch_memory_limit_bytes" },
  { field: "failover_promotions", name: "bunch_promotions_total" },
  ...(["alive", "suspect", "down", "left"] as const).map((state): InfoMetric => ({
    field: `members_${state}`,
    name: "bunch_members",
    labels: { state },
  })),
  { field: "membership_score", name: "bunch_gossip_doubt" },
  { field: "membership_probes", name: "bunch_gossip_probes_total" },
  { field: "membership_failed_probes", name: "bunch_gossip_failed_probes_total" },
  { field: "membership_refutations", name: "bunch_gossip_refutations_total" },
  { field: "membership_sent_messages", name: "bunch_gossip_messages_total", labels: { direction: "sent" } },
  { field: "membership_received_messages", name: "bunch_gossip_messages_total", labels: { direction: "received" } },
  { field: "bus_links_out", name: "bunch_bus_links", labels: { direction: "out" } },
  { field: "bus_links_in", name: "bunch_bus_links", labels: { direction: "in" } },
  ...(["sent", "received"] as const).flatMap((direction): readonly InfoMetric[] => [
    { field: `bus_${direction}_frames`, name: "bunch_bus_frames_total", labels: { direction } },
    { field: `bus_${direction}_bytes`, name: "bunch_bus_bytes_total", labels: { direction } },
    { field: `bus_${direction}_datagrams`, name: "bunch_bus_datagrams_total", labels: { direction } },
    { field: `bus_${direction}_datagram_bytes`, name: "bunch_bus_datagram_bytes_total", labels: { direction } },
  ]),
  { field: "bus_dropped_frames", name: "bunch_bus_dropped_frames_total" },
  { field: "bus_refused_links", name: "bunch_bus_refused_links_total" },
  ...(["sent", "failed", "dropped"] as const).map((outcome): InfoMetric => ({
    field: `health_webhook_${outcome}`,
    name: "bunch_health_webhook_posts_total",
    labels: { outcome },
  })),
  { field: "health_webhook_retried", name: "bunch_health_webhook_retries_total" },
  { field: "health_webhook_waiting", name: "bunch_health_webhook_waiting_posts" },
  { field: "http_requests", name: "bunch_http_requests_total" },
  { field: "http_refused_wrong_token", name: "bunch_http_refused_requests_total", labels: { reason: "token" } },
  { field: "http_refused_rate", name: "bunch_http_refused_requests_total", labels: { reason: "rate" } },
  {
    field: "http_refused_overload_address",
    name: "bunch_http_refused_requests_total",
    labels: { reason: "address" },
  },
  { field: "http_refused_unread", name: "bunch_http_refused_requests_total", labels: { reason: "unread" } },
  { field: "http_refused_overload", name: "bunch_http_refused_requests_total", labels: { reason: "overload" } },
  { field: "http_failed", name: "bunch_http_failed_requests_total" },
];

/** The fields of all sections, by name. */
export function fieldsOf(sections: readonly InfoSection[]): ReadonlyMap<string, string | number> {
  return new Map(sections.flatMap(({ fields }) => Object.entries(fields)));
}

/** A field as a number; `undefined` if nobody tells it. */
export function numberOf(fields: ReadonlyMap<string, string | number>, field: string): number | undefined {
  const value = fields.get(field);
  return value === undefined || value === "" ? undefined : Number(value);
}

export function addInfoMetrics(samples: Samples, fields: ReadonlyMap<string, string | number>): void {
  for (const { field, name, labels } of INFO_METRICS) samples.add(name, numberOf(fields, field), labels);
}
