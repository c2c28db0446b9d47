/** Tasks that move slots, with how far they are: which the primary of the source knows, whoever is asked. */
import type { MigrationStatus, Migrations } from "../contracts/migration.ts";
import type { ClusterView } from "../cluster-view.ts";
import type { NodeId, Topology } from "../contracts/topology.ts";
import { readTasks } from "../migration/read-tasks.ts";
import type { Nodes } from "./nodes.ts";

/** How long another node may take to tell. Without its word the rest is told. */
const PATIENCE_MS = 1000;

export interface TaskSources {
  readonly topology: Topology;
  readonly migrations: Migrations | undefined;
  readonly nodes: Nodes;
  readonly view: Pick<ClusterView, "shard" | "whyNotServed">;
}

/** All tasks that this node knows of. @param isWanted Of others nobody is asked. */
export async function tasksOf(
  { topology, migrations, nodes, view }: TaskSources,
  isWanted: (task: MigrationStatus) => boolean = () => true,
): Promise<readonly MigrationStatus[]> {
  const tasks = (migrations?.tasks ?? []).filter(isWanted);
  const tellers = new Set<NodeId>();
  for (const { endedAtMs, progress, sourceNode } of tasks) {
    if (endedAtMs === undefined && progress === undefined && sourceNode !== undefined) tellers.add(sourceNode);
  }
  tellers.delete(topology.self.id);
  const known = new Map<string, MigrationStatus>();
  await Promise.all(
    [...tellers].map(async (id) => {
      const node = topology.node(id);
      if (node === undefined) return;
      const told = await nodes.ask(node, ["CLUSTER", "MIGRATIONS"], PATIENCE_MS);
      for (const task of readTasks(told ?? null)) if (task.progress !== undefined) known.set(task.id, task);
    }),
  );
  // What ended meanwhile has ended: the map says so, and is asked again.
  const present = new Map((migrations?.tasks ?? []).map((task) => [task.id, task]));
  return tasks.map((task) => {
    const now = present.get(task.id) ?? task;
    const told = now.progress === undefined && now.endedAtMs === undefined ? known.get(task.id) : undefined;
    if (told === undefined) return now.progress === undefined && now.endedAtMs === undefined ? held(now, view) : now;
    const { phase, waitingFor, progress } = told;
    return Object.assign({}, now, { phase, waitingFor, progress });
  });
}

/** A task of which nobody tells how far it is: it waits if it is known that one of its primaries cannot go on with it. */
function held(task: MigrationStatus, view: TaskSources["view"]): MigrationStatus {
  const [reason] = [task.source, task.target].flatMap((id) => {
    const shard = view.shard(id);
    return (shard === undefined ? undefined : view.whyNotServed(shard)) ?? [];
  });
  return reason === undefined || task.phase !== "streaming"
    ? task
    : Object.assign({}, task, { phase: "waiting" as const, waitingFor: task.waitingFor ?? reason });
}
