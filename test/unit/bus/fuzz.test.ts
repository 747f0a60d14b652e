import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { generator } from "../../lib/random.ts";
import { checkMessages, damaged, MESSAGE_FILES, randomMessages } from "../../lib/random-message.ts";

// The same ones each time; test:long goes on with others.
test("random messages are read, and damaged ones are read or refused, in little time", () => {
  const seen = { read: 0, refused: 0 };
  for (let seed = 0; seed < 3000; seed++) {
    const below = generator(seed);
    const bytes = randomMessages(below);
    expect(checkMessages(bytes, below)).toBe("read");
    seen[checkMessages(damaged(below, bytes), below)]++;
  }
  // Both kinds are met: else it would prove little.
  expect(seen.read).toBeGreaterThan(100);
  expect(seen.refused).toBeGreaterThan(1000);
});

test.for(readdirSync(MESSAGE_FILES))("%s", (file) => {
  const bytes = Buffer.from(readFileSync(new URL(file, MESSAGE_FILES), "utf8"), "hex");
  expect(["read", "refused"]).toContain(checkMessages(bytes, generator(1)));
});
