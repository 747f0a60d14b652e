export function orGiveUp<T>(act: () => T, giveUp: () => void): T {
  try {
    return act();
  } catch (error) {
    giveUp();
    throw error;
  }
}
