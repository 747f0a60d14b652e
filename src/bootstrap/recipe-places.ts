/** Where what a recipe says is written, which ini(npm) does not tell. */
export interface Places {
  /** `path:line:column` of a section's head. */
  ofSection(name: string): string;
  /** Of a key's values, in their order. */
  ofValues(section: string, key: string): readonly Place[];
}

export interface Place {
  readonly key: string;
  readonly value: string;
}

/** By the rules of ini(npm): a section's head and a key's value are a line each; `key[]` is one of several. */
export function findPlaces(text: string, path: string): Places {
  const heads = new Map<string, string>();
  const values = new Map<string, Place[]>();
  let section = "";
  for (const [index, line] of text.split("\n").entries()) {
    const at = (column: number): string => `${path}:${index + 1}:${column + 1}`;
    const head = /^(\s*)\[([^\]]*)\]\s*$/.exec(line);
    if (head !== null) {
      section = head[2] ?? "";
      heads.set(section, at(head[1]?.length ?? 0));
      continue;
    }
    const [before, space = "", key] = /^(\s*)([^\s;#=][^=]*?)(?:\[\])?\s*(?:=\s*|$)/.exec(line) ?? [];
    if (before === undefined || key === undefined) continue;
    const known = values.get(`${section}\n${key}`) ?? [];
    values.set(`${section}\n${key}`, [...known, { key: at(space.length), value: at(before.length) }]);
  }
  return {
    ofSection: (name) => heads.get(name) ?? path,
    ofValues: (name, key) => values.get(`${name}\n${key}`) ?? [],
  };
}
