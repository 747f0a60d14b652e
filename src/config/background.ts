import { UsageError } from "../errors.ts";
import { quote } from "../spec/quote.ts";

export type Rgb = readonly [red: number, green: number, blue: number];

/** Of xterm: what a terminal shows for the colours 0 to 15 is its user's choice, and this is the usual one. */
const NAMED: readonly Rgb[] = [
  [0, 0, 0],
  [205, 0, 0],
  [0, 205, 0],
  [205, 205, 0],
  [0, 0, 238],
  [205, 0, 205],
  [0, 205, 205],
  [229, 229, 229],
  [127, 127, 127],
  [255, 0, 0],
  [0, 255, 0],
  [255, 255, 0],
  [92, 92, 255],
  [255, 0, 255],
  [0, 255, 255],
  [255, 255, 255],
];
/** The cube of 6 x 6 x 6 colours of the palette of 256, behind the 16, and before its greys. */
const CUBE = [0, 95, 135, 175, 215, 255] as const;
const [CUBE_START, GREY_START, PALETTE_END] = [16, 232, 256] as const;

/** --background=COLOR: an SGR background colour of ECMA-48, as systemd-nspawn(1) takes it. Null, for an empty one: none. */
export function backgroundOption(text: string): Rgb | null {
  if (text === "") return null;
  const colour = /^[0-9]{1,3}(;[0-9]{1,3})*$/.test(text) ? colourOf(text.split(";").map(Number)) : undefined;
  if (colour === undefined)
    throw new UsageError(
      `--background=: ${quote(text)} is no background colour`,
      "40 to 47, 100 to 107, 48;5;N of the palette, 48;2;RED;GREEN;BLUE, or nothing for none",
    );
  return colour;
}

function colourOf(numbers: readonly number[]): Rgb | undefined {
  const [kind = 0, form, ...more] = numbers;
  if (form === undefined) {
    if (kind >= 40 && kind <= 47) return NAMED[kind - 40];
    return kind >= 100 && kind <= 107 ? NAMED[kind - 100 + 8] : undefined;
  }
  if (kind !== 48 || more.some((number) => number > 255)) return undefined;
  const [first, green, blue] = more;
  if (form === 5 && more.length === 1 && first !== undefined) return ofPalette(first);
  if (form !== 2 || more.length !== 3 || first === undefined || green === undefined || blue === undefined)
    return undefined;
  return [first, green, blue];
}

function ofPalette(index: number): Rgb | undefined {
  if (index < CUBE_START) return NAMED[index];
  if (index >= PALETTE_END) return undefined;
  if (index >= GREY_START) {
    const grey = 8 + 10 * (index - GREY_START);
    return [grey, grey, grey];
  }
  const at = index - CUBE_START;
  const level = (digit: number): number => CUBE[digit % 6] ?? 0;
  return [level(Math.floor(at / 36)), level(Math.floor(at / 6)), level(at)];
}
