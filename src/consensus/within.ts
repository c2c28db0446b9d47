/** Waiting for something, but not for ever. */
import type { Clock } from "../world.ts";

/**
 * Waits until something is so, or the time is over.
 *
 * @param stepMs How often it looks.
 * @param urge Done before each look but the first.
 * @returns Whether it is so.
 */
export async function within(
  clock: Clock,
  limitMs: number,
  stepMs: number,
  isDone: () => boolean,
  urge?: () => void,
): Promise<boolean> {
  const endAtMs = clock.monotonicMs() + limitMs;
  while (!isDone() && clock.monotonicMs() < endAtMs) {
    urge?.();
    await new Promise<void>((resolve) => {
      clock.after(stepMs, resolve);
    });
  }
  return isDone();
}
