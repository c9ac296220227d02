// Numbers as people read them.

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (number) => plain.format(number);
export const rough = (number) => (number < 10 ? fine : plain).format(number);
export const percent = (share) => `${rough(share * 100)} %`;
export const milliseconds = (number) => (number < 1000 ? `${rough(number)} ms` : `${fine.format(number / 1000)} s`);

/** Seconds as 0:07 or 12:34. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** How long: 8 s, 3 min. */
export const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
