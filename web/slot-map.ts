/** The picture of the slots on the page, and where the pointer is on it. */
import type { MigrationView, ShardView } from "../src/rest/schemas.ts";
import { isUnderWay } from "./model.ts";
import { SIDE, paint } from "./slot-colours.ts";

export class SlotMap {
  readonly #canvas: HTMLCanvasElement;
  readonly #mark: HTMLElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #image: ImageData;
  readonly #isStill = matchMedia("(prefers-reduced-motion: reduce)");
  #shards: readonly ShardView[] = [];
  #migrations: readonly MigrationView[] = [];
  #frame = 0;

  /** @param pointed Called with the slot under the pointer, and whether it was chosen. */
  constructor(
    canvas: HTMLCanvasElement,
    pointMark: HTMLElement,
    pointed: (slot: number | undefined, isChosen: boolean) => void,
  ) {
    this.#canvas = canvas;
    this.#mark = pointMark;
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("This browser draws no pictures.");
    this.#context = context;
    this.#image = context.createImageData(SIDE, SIDE);
    const slotAt = ({ offsetX, offsetY }: PointerEvent | MouseEvent): number => {
      const scale = SIDE / canvas.clientWidth;
      const [column, row] = [Math.floor(offsetX * scale), Math.floor(offsetY * scale)];
      return Math.min(SIDE - 1, Math.max(0, row)) * SIDE + Math.min(SIDE - 1, Math.max(0, column));
    };
    canvas.addEventListener("pointermove", (event) => pointed(slotAt(event), false));
    canvas.addEventListener("pointerleave", () => pointed(undefined, false));
    canvas.addEventListener("click", (event) => pointed(slotAt(event), true));
  }

  show(shards: readonly ShardView[], migrations: readonly MigrationView[]): void {
    this.#shards = shards;
    this.#migrations = migrations.filter(isUnderWay);
    this.#draw();
  }

  /** Puts a frame around a slot. */
  point(slot: number | undefined): void {
    this.#mark.hidden = slot === undefined;
    if (slot === undefined) return;
    this.#mark.style.left = `${((slot % SIDE) * 100) / SIDE}%`;
    this.#mark.style.top = `${(Math.floor(slot / SIDE) * 100) / SIDE}%`;
  }

  #draw(): void {
    cancelAnimationFrame(this.#frame);
    const isMoving = this.#migrations.length > 0 && !this.#isStill.matches;
    paint(this.#image.data, this.#shards, this.#migrations, isMoving ? (performance.now() / 1500) % 1 : undefined);
    this.#context.putImageData(this.#image, 0, 0);
    this.#canvas.dataset["moving"] = String(this.#migrations.length);
    if (isMoving) this.#frame = requestAnimationFrame(() => this.#draw());
  }
}
